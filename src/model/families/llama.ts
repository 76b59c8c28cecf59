/** Llama, dense: the submodel of LLaMA-MoE, and a source of upcycling. Llama 3's scaling of RoPE is honoured. */
import { defineFamily, dense, denseNames } from './family.js';
import { decoderFields } from './fields.js';

export const llama = defineFamily({
  modelType: 'llama',
  title: 'Llama',
  architecture: 'LlamaForCausalLM',
  honoured: {
    ...decoderFields,
    intermediate_size: { property: 'moeIntermediateSize', kind: 'count' },
    attention_bias: { property: 'qkvBias', kind: 'boolean', absent: false },
    max_position_embeddings: { property: 'maxPositionEmbeddings', kind: 'count', absent: 2048 },
    bos_token_id: { property: 'bosTokenId', kind: 'token', absent: 1 },
    eos_token_id: { property: 'eosTokenId', kind: 'tokens', absent: 2 },
  },
  fixed: { mlp_bias: [false] },
  // Once how products were cut over several cards; transformers 5 no longer reads it.
  withoutEffect: ['pretraining_tp'],
  rope: { theta: 10_000, llama3: true },
  ownHeadDim: true,
  derive: ({ qkvBias }) => ({ ...dense, outputBias: qkvBias! }),
  write: () => ({ mlp_bias: false }),
  names: denseNames,
});

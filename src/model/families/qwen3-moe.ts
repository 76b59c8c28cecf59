/** Qwen3-MoE: softmax router, queries and keys normalised head by head, heads of a size of their own. */
import { defineFamily, expertNames } from './family.js';
import { balanceFields, decoderFields } from './fields.js';

export const qwen3Moe = defineFamily({
  modelType: 'qwen3_moe',
  title: 'Qwen3-MoE',
  architecture: 'Qwen3MoeForCausalLM',
  honoured: {
    ...decoderFields,
    intermediate_size: { property: 'intermediateSize', kind: 'count', absent: 6144 },
    moe_intermediate_size: { property: 'moeIntermediateSize', kind: 'count' },
    num_experts: { property: 'numExperts', kind: 'count', alias: 'num_local_experts' },
    num_experts_per_tok: { property: 'numExpertsPerTok', kind: 'count' },
    norm_topk_prob: { property: 'normTopkProb', kind: 'boolean', absent: false },
    mlp_only_layers: { property: 'mlpOnlyLayers', kind: 'layers', absent: [] },
    decoder_sparse_step: { property: 'decoderSparseStep', kind: 'count', absent: 1 },
    ...balanceFields,
    attention_bias: { property: 'qkvBias', kind: 'boolean', absent: false },
    max_position_embeddings: { property: 'maxPositionEmbeddings', kind: 'count', absent: 32768 },
  },
  fixed: { use_sliding_window: [false] },
  // They count only with use_sliding_window, which is refused.
  withoutEffect: ['sliding_window', 'max_window_layers'],
  rope: { theta: 10_000 },
  ownHeadDim: true,
  derive: ({ qkvBias }) => ({ outputBias: qkvBias!, qkNorm: 'head' }),
  write: ({ headDim }) => ({ head_dim: headDim, use_sliding_window: false }),
  names: expertNames,
});

/** Mixtral: the body of Llama with a plain linear router, whose K weights always sum to 1. */
import { defineFamily } from './family.js';
import { accepts, balanceFields, decoderFields, refuse } from './fields.js';

export const mixtral = defineFamily({
  modelType: 'mixtral',
  title: 'Mixtral',
  architecture: 'MixtralForCausalLM',
  honoured: {
    ...decoderFields,
    intermediate_size: { property: 'moeIntermediateSize', kind: 'count' },
    num_local_experts: { property: 'numExperts', kind: 'count', absent: 8 },
    num_experts_per_tok: { property: 'numExpertsPerTok', kind: 'count', absent: 2 },
    ...balanceFields,
    rms_norm_eps: { property: 'rmsNormEps', kind: 'positive', absent: 1e-5 },
    max_position_embeddings: { property: 'maxPositionEmbeddings', kind: 'count', absent: 131072 },
    bos_token_id: { property: 'bosTokenId', kind: 'token', absent: 1 },
    eos_token_id: { property: 'eosTokenId', kind: 'tokens', absent: 2 },
  },
  fixed: { router_jitter_noise: [0] },
  rope: { theta: 1_000_000 },
  ownHeadDim: true,
  derived: ['sliding_window'],
  derive: ({ maxPositionEmbeddings }, { sliding_window: window = null }, file) => {
    // A window that no row outgrows is none.
    const idle = accepts('count', window) && (window as number) >= maxPositionEmbeddings!;
    if (window !== null && !idle) {
      refuse(
        file,
        'sliding_window',
        `null, or max_position_embeddings, ${maxPositionEmbeddings}, or more`,
        window,
      );
    }
    return { normTopkProb: true };
  },
  write: () => ({ sliding_window: null }),
  names: {
    onDisk: {
      'mlp.experts.gate_proj.weight': 'block_sparse_moe.experts.{e}.w1.weight',
      'mlp.experts.up_proj.weight': 'block_sparse_moe.experts.{e}.w3.weight',
      'mlp.experts.down_proj.weight': 'block_sparse_moe.experts.{e}.w2.weight',
      'mlp.gate.weight': 'block_sparse_moe.gate.weight',
    },
    fused: { gateUp: 'mlp.experts.gate_up_proj', down: 'mlp.experts.down_proj' },
  },
});

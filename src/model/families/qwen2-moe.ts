/** Qwen2-MoE: Qwen1.5-MoE-A2.7B and its kind. Softmax router, shared expert with a gate, biases on q, k and v. */
import { defineFamily, expertNames } from './family.js';
import { balanceFields, decoderFields } from './fields.js';

export const qwen2Moe = defineFamily({
  modelType: 'qwen2_moe',
  title: 'Qwen2-MoE',
  architecture: 'Qwen2MoeForCausalLM',
  honoured: {
    ...decoderFields,
    intermediate_size: { property: 'intermediateSize', kind: 'count', absent: 5632 },
    moe_intermediate_size: { property: 'moeIntermediateSize', kind: 'count' },
    shared_expert_intermediate_size: { property: 'sharedExpertIntermediateSize', kind: 'count' },
    num_experts: { property: 'numExperts', kind: 'count' },
    num_experts_per_tok: { property: 'numExpertsPerTok', kind: 'count' },
    norm_topk_prob: { property: 'normTopkProb', kind: 'boolean', absent: false },
    mlp_only_layers: { property: 'mlpOnlyLayers', kind: 'layers', absent: [] },
    decoder_sparse_step: { property: 'decoderSparseStep', kind: 'count', absent: 1 },
    ...balanceFields,
    qkv_bias: { property: 'qkvBias', kind: 'boolean', absent: true },
    max_position_embeddings: { property: 'maxPositionEmbeddings', kind: 'count', absent: 32768 },
  },
  fixed: { use_sliding_window: [false] },
  // They count only with use_sliding_window, which is refused.
  withoutEffect: ['sliding_window', 'max_window_layers'],
  rope: { theta: 10_000 },
  ownHeadDim: true,
  derive: () => ({}),
  write: () => ({ use_sliding_window: false }),
  names: expertNames,
});

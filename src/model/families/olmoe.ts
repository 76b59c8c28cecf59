/** OLMoE: softmax router, queries and keys normalised over all heads together, optionally clipped. */
import { defineFamily, expertNames } from './family.js';
import { balanceFields, decoderFields } from './fields.js';

export const olmoe = defineFamily({
  modelType: 'olmoe',
  title: 'OLMoE',
  architecture: 'OlmoeForCausalLM',
  honoured: {
    ...decoderFields,
    intermediate_size: { property: 'moeIntermediateSize', kind: 'count' },
    num_experts: { property: 'numExperts', kind: 'count', alias: 'num_local_experts' },
    num_experts_per_tok: { property: 'numExpertsPerTok', kind: 'count' },
    norm_topk_prob: { property: 'normTopkProb', kind: 'boolean', absent: false },
    output_router_logits: balanceFields.output_router_logits,
    router_aux_loss_coef: { property: 'routerAuxLossCoef', kind: 'nonNegative', absent: 0.01 },
    attention_bias: { property: 'qkvBias', kind: 'boolean', absent: false },
    clip_qkv: { property: 'clipQkv', kind: 'limit', absent: null },
    rms_norm_eps: { property: 'rmsNormEps', kind: 'positive', absent: 1e-5 },
    max_position_embeddings: { property: 'maxPositionEmbeddings', kind: 'count', absent: 4096 },
    pad_token_id: { property: 'padTokenId', kind: 'token', absent: 1 },
    eos_token_id: { property: 'eosTokenId', kind: 'tokens', absent: 50279 },
  },
  rope: { theta: 10_000 },
  derive: ({ qkvBias }) => ({ outputBias: qkvBias!, qkNorm: 'width' }),
  write: () => ({}),
  names: expertNames,
});

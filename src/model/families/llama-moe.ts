/**
 * LLaMA-MoE v1: the body of Llama, a two-layer noisy gate, softmax over the selected experts times
 * score_scale_factor. transformers does not know it, so exports carry its Python definition.
 */
import type { ConfigJson, ModelConfig } from '../config.js';
import { defineFamily, dense } from './family.js';
import { accepts, decoderFields, refuse } from './fields.js';

/** Width of one expert: size_experts lists it for every layer and expert, or intermediate_size is shared out. */
function expertWidth(
  { numExperts = 1, numHiddenLayers }: Partial<ModelConfig>,
  json: ConfigJson,
  file: string,
): number {
  const { size_experts: sizes = null, intermediate_size: sum } = json;
  if (!accepts('count', sum)) refuse(file, 'intermediate_size', 'a whole number above 0', sum);
  const width = (sum as number) / numExperts;
  if (!Number.isInteger(width))
    refuse(file, 'intermediate_size', `a multiple of num_experts, ${numExperts}`, sum);
  if (sizes === null) return width;
  const good =
    Array.isArray(sizes) &&
    sizes.length === numHiddenLayers &&
    sizes.every((layer: unknown) => {
      return Array.isArray(layer) && layer.length === numExperts && layer.every((size) => size === width);
    });
  if (good) return width;
  const wanted = `for each of ${numHiddenLayers} layers ${numExperts} times ${width}, which is intermediate_size / num_experts`;
  return refuse(file, 'size_experts', wanted, sizes);
}

export const llamaMoe = defineFamily({
  modelType: 'llama_moe',
  title: 'LLaMA-MoE',
  architecture: 'LlamaMoEForCausalLM',
  honoured: {
    ...decoderFields,
    num_experts: { property: 'numExperts', kind: 'count', absent: 16 },
    num_selects: { property: 'numExpertsPerTok', kind: 'count', absent: 4 },
    score_scale_factor: { property: 'scoreScaleFactor', kind: 'positive', absent: 1 },
    gate_use_balance: { property: 'outputRouterLogits', kind: 'boolean', absent: true },
    gate_balance_loss_weight: { property: 'routerAuxLossCoef', kind: 'nonNegative', absent: 0.01 },
    gate_add_noise: { property: 'gateAddNoise', kind: 'boolean', absent: true },
    gate_noise_epsilon: { property: 'gateNoiseEpsilon', kind: 'nonNegative', absent: 0.01 },
    max_position_embeddings: { property: 'maxPositionEmbeddings', kind: 'count', absent: 2048 },
    bos_token_id: { property: 'bosTokenId', kind: 'token', absent: 1 },
    eos_token_id: { property: 'eosTokenId', kind: 'tokens', absent: 2 },
  },
  fixed: {
    gate_type: ['TopKBalancedNoisyGate'],
    gate_network: ['mlp'],
    gates: ['mlp'],
    gate_use_softmax: [true],
    calculator_type: ['UniversalCalculator'],
    multiply_gate_scores: [true],
    add_weight_norm: [false],
    attention_bias: [false],
    mlp_bias: [false],
    pretraining_tp: [1],
  },
  // Of other calculators; and where an export's Python definition lies.
  withoutEffect: ['drop_tokens', 'dropped_padding', 'capacity_factor', 'auto_map'],
  rope: { theta: 10_000 },
  derived: ['intermediate_size', 'size_experts'],
  derive: (fields, json, file) => ({ router: 'noisy', moeIntermediateSize: expertWidth(fields, json, file) }),
  write: ({ numExperts, numHiddenLayers, moeIntermediateSize: width }) => ({
    intermediate_size: numExperts * width,
    size_experts: new Array<number[]>(numHiddenLayers).fill(new Array<number>(numExperts).fill(width)),
    gate_type: 'TopKBalancedNoisyGate',
    gate_network: 'mlp',
    gate_use_softmax: true,
    calculator_type: 'UniversalCalculator',
    multiply_gate_scores: true,
    auto_map: {
      AutoConfig: 'configuration_llama_moe.LlamaMoEConfig',
      AutoModel: 'modeling_llama_moe.LlamaMoEModel',
      AutoModelForCausalLM: 'modeling_llama_moe.LlamaMoEForCausalLM',
    },
  }),
  names: {
    onDisk: {
      'mlp.experts.gate_proj.weight': 'mlp.calculator.experts.weight_gate.{e}',
      'mlp.experts.up_proj.weight': 'mlp.calculator.experts.weight_up.{e}',
      'mlp.experts.down_proj.weight': 'mlp.calculator.experts.weight_down.{e}',
    },
    fused: null,
  },
  // A single expert has the weight score_scale_factor. Where that is 1 plain Llama computes the same and is loaded
  // by everything; else only this family with one expert gives it the share that the merged model gives to all.
  submodel: (single) => {
    if (single.scoreScaleFactor !== 1) return single;
    return { ...single, ...dense, modelType: 'llama', gateAddNoise: false, gateNoiseEpsilon: 0 };
  },
  remoteCode: ['configuration_llama_moe.py', 'modeling_llama_moe.py'],
});

/**
 * config.json of Qwen2-MoE (Qwen1.5-MoE-A2.7B and its kind). Three lists: keys that are honoured, keys known
 * to have no effect on what is computed, and everything else, which is refused.
 */
import { DataError } from '../../errors.js';
import { closest } from '../../recipe/faults.js';
import type { ConfigJson, Family, ModelConfig } from '../config.js';

type Kind = 'count' | 'positive' | 'nonNegative' | 'boolean' | 'layers' | 'token' | 'tokens';
interface Field {
  property: keyof ModelConfig;
  kind: Kind;
  /** What transformers takes when the key is absent; a field without one is required. */
  absent?: ModelConfig[keyof ModelConfig];
}

/** Honoured, as they stand in the file. `head_dim`, `rope_theta` and `rope_parameters` are read below. */
const honoured: Record<string, Field> = {
  vocab_size: { property: 'vocabSize', kind: 'count' },
  hidden_size: { property: 'hiddenSize', kind: 'count' },
  num_hidden_layers: { property: 'numHiddenLayers', kind: 'count' },
  num_attention_heads: { property: 'numAttentionHeads', kind: 'count' },
  num_key_value_heads: { property: 'numKeyValueHeads', kind: 'count' },
  intermediate_size: { property: 'intermediateSize', kind: 'count', absent: 5632 },
  moe_intermediate_size: { property: 'moeIntermediateSize', kind: 'count' },
  shared_expert_intermediate_size: { property: 'sharedExpertIntermediateSize', kind: 'count' },
  num_experts: { property: 'numExperts', kind: 'count' },
  num_experts_per_tok: { property: 'numExpertsPerTok', kind: 'count' },
  norm_topk_prob: { property: 'normTopkProb', kind: 'boolean', absent: false },
  mlp_only_layers: { property: 'mlpOnlyLayers', kind: 'layers', absent: [] },
  decoder_sparse_step: { property: 'decoderSparseStep', kind: 'count', absent: 1 },
  output_router_logits: { property: 'outputRouterLogits', kind: 'boolean', absent: false },
  router_aux_loss_coef: { property: 'routerAuxLossCoef', kind: 'nonNegative', absent: 0.001 },
  qkv_bias: { property: 'qkvBias', kind: 'boolean', absent: true },
  tie_word_embeddings: { property: 'tieWordEmbeddings', kind: 'boolean', absent: false },
  rms_norm_eps: { property: 'rmsNormEps', kind: 'positive', absent: 1e-6 },
  initializer_range: { property: 'initializerRange', kind: 'nonNegative', absent: 0.02 },
  max_position_embeddings: { property: 'maxPositionEmbeddings', kind: 'count', absent: 32768 },
  pad_token_id: { property: 'padTokenId', kind: 'token', absent: null },
  bos_token_id: { property: 'bosTokenId', kind: 'token', absent: null },
  eos_token_id: { property: 'eosTokenId', kind: 'tokens', absent: null },
};

/** Keys of which only one meaning is supported, and the values that have it. */
const fixed: Record<string, readonly unknown[]> = {
  model_type: ['qwen2_moe'],
  architectures: [['Qwen2MoeForCausalLM'], null],
  hidden_act: ['silu'],
  attention_dropout: [0],
  use_sliding_window: [false],
  rope_scaling: [null],
  is_encoder_decoder: [false],
  chunk_size_feed_forward: [0],
  quantization_config: [null],
  per_layer_config: [null],
};

/** Known to have no effect on the weights, the loss or the gradients. Precision is a matter of the recipe. */
const withoutEffect = new Set([
  'transformers_version',
  '_name_or_path',
  'torch_dtype',
  'dtype',
  'use_cache',
  'return_dict',
  'output_hidden_states',
  'output_attentions',
  'problem_type',
  'id2label',
  'label2id',
  // Counts only with use_sliding_window, which is refused.
  'sliding_window',
  'max_window_layers',
]);

const elsewhere = ['head_dim', 'rope_theta', 'rope_parameters', 'layer_types'];

function accepts(kind: Kind, value: unknown): boolean {
  switch (kind) {
    case 'count':
      return Number.isSafeInteger(value) && (value as number) > 0;
    case 'positive':
      return typeof value === 'number' && Number.isFinite(value) && value > 0;
    case 'nonNegative':
      return typeof value === 'number' && Number.isFinite(value) && value >= 0;
    case 'boolean':
      return typeof value === 'boolean';
    case 'layers':
      return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
    case 'token':
      return value === null || (Number.isSafeInteger(value) && (value as number) >= 0);
    case 'tokens':
      return accepts('token', value) || (accepts('layers', value) && (value as unknown[]).length > 0);
  }
}

const expected: Record<Kind, string> = {
  count: 'a whole number above 0',
  positive: 'a number above 0',
  nonNegative: 'a number, 0 or more',
  boolean: 'true or false',
  layers: 'a list of layer numbers from 0',
  token: 'a token number or null',
  tokens: 'a token number, a list of them or null',
};

/** Throws DataError for `key` of `file`. */
function refuse(file: string, key: string, wanted: string, found: unknown, hint?: string): never {
  throw new DataError('The model configuration cannot be honoured.', {
    file,
    key,
    expected: wanted,
    found: found === undefined ? 'nothing' : JSON.stringify(found),
    ...(hint === undefined ? {} : { hint }),
  });
}

function readHonoured(json: ConfigJson, file: string): Record<string, unknown> {
  const result: Record<string, unknown> = { modelType: 'qwen2_moe' };
  for (const [key, field] of Object.entries(honoured)) {
    // transformers writes null for "no such list"; elsewhere null is a value like any other.
    const value = json[key] === null && field.kind === 'layers' ? undefined : json[key];
    if (value === undefined && 'absent' in field) result[field.property] = field.absent;
    else if (accepts(field.kind, value)) result[field.property] = value;
    else refuse(file, key, expected[field.kind], value);
  }
  return result;
}

/** RoPE's base from the flat key or from transformers 5's `rope_parameters`; both may stand there if they agree. */
function readRopeTheta(json: ConfigJson, file: string): number {
  const flat = json.rope_theta;
  if (flat !== undefined && !accepts('positive', flat)) refuse(file, 'rope_theta', expected.positive, flat);
  const parameters = json.rope_parameters;
  if (parameters === undefined || parameters === null) return (flat as number | undefined) ?? 10_000;
  if (typeof parameters !== 'object' || Array.isArray(parameters))
    refuse(file, 'rope_parameters', 'an object', parameters);
  const {
    rope_theta,
    rope_type = 'default',
    partial_rotary_factor = 1,
    ...others
  } = parameters as ConfigJson;
  if (rope_type !== 'default') refuse(file, 'rope_parameters.rope_type', '"default"', rope_type);
  if (partial_rotary_factor !== 1)
    refuse(file, 'rope_parameters.partial_rotary_factor', '1', partial_rotary_factor);
  for (const key of Object.keys(others)) refuse(file, `rope_parameters.${key}`, 'no such key', others[key]);
  const theta = rope_theta ?? flat ?? 10_000;
  if (!accepts('positive', theta)) refuse(file, 'rope_parameters.rope_theta', expected.positive, theta);
  if (flat !== undefined && flat !== theta)
    refuse(file, 'rope_theta', `${theta}, as in rope_parameters`, flat);
  return theta as number;
}

function checkOthers(json: ConfigJson, file: string): void {
  for (const [key, value] of Object.entries(json)) {
    const values = fixed[key];
    if (values) {
      if (!values.some((allowed) => JSON.stringify(allowed) === JSON.stringify(value))) {
        refuse(file, key, values.map((allowed) => JSON.stringify(allowed)).join(' or '), value);
      }
    } else if (key === 'layer_types') {
      const good = Array.isArray(value) && value.every((type) => type === 'full_attention');
      if (value !== null && !good) refuse(file, key, '"full_attention" for every layer', value);
      if (Array.isArray(value) && value.length !== json.num_hidden_layers) {
        refuse(file, key, `${json.num_hidden_layers} entries, as num_hidden_layers`, value);
      }
    } else if (!(key in honoured) && !withoutEffect.has(key) && !elsewhere.includes(key)) {
      const near = closest(key, [...Object.keys(honoured), ...Object.keys(fixed), ...elsewhere]);
      const hint = near === null ? undefined : `did you mean ${near}?`;
      refuse(file, key, 'no such key in a Qwen2-MoE configuration', value, hint);
    }
  }
}

/** What the fields must be to each other. */
function checkTogether(config: ModelConfig, file: string): void {
  if (config.numExpertsPerTok > config.numExperts) {
    refuse(file, 'num_experts_per_tok', `at most num_experts, ${config.numExperts}`, config.numExpertsPerTok);
  }
  if (config.numAttentionHeads % config.numKeyValueHeads !== 0) {
    refuse(
      file,
      'num_key_value_heads',
      `a divisor of num_attention_heads, ${config.numAttentionHeads}`,
      config.numKeyValueHeads,
    );
  }
  if (config.headDim % 2 !== 0) refuse(file, 'head_dim', 'an even number, for RoPE', config.headDim);
  const beyond = config.mlpOnlyLayers.find((layer) => layer >= config.numHiddenLayers);
  if (beyond !== undefined) refuse(file, 'mlp_only_layers', `layers below ${config.numHiddenLayers}`, beyond);
  if (config.padTokenId !== null && config.padTokenId >= config.vocabSize) {
    refuse(file, 'pad_token_id', `below vocab_size, ${config.vocabSize}`, config.padTokenId);
  }
}

function parse(json: ConfigJson, file: string): ModelConfig {
  checkOthers(json, file);
  const fields = readHonoured(json, file);
  const ropeTheta = readRopeTheta(json, file);
  const perHead = (fields.hiddenSize as number) / (fields.numAttentionHeads as number);
  const headDim = json.head_dim ?? perHead;
  if (json.head_dim == null && !Number.isInteger(perHead)) {
    refuse(
      file,
      'num_attention_heads',
      `a divisor of hidden_size, ${fields.hiddenSize}`,
      fields.numAttentionHeads,
    );
  }
  if (!accepts('count', headDim)) refuse(file, 'head_dim', expected.count, headDim);
  const config = { ...fields, headDim, ropeTheta } as unknown as ModelConfig;
  checkTogether(config, file);
  return config;
}

function write(config: ModelConfig, dtype: string): ConfigJson {
  const json: ConfigJson = { architectures: ['Qwen2MoeForCausalLM'], model_type: 'qwen2_moe' };
  for (const [key, field] of Object.entries(honoured)) json[key] = config[field.property];
  if (config.headDim * config.numAttentionHeads !== config.hiddenSize) json.head_dim = config.headDim;
  return {
    ...json,
    hidden_act: 'silu',
    attention_dropout: 0,
    rope_theta: config.ropeTheta,
    use_sliding_window: false,
    use_cache: true,
    torch_dtype: dtype,
  };
}

/** The Qwen2-MoE family. */
export const qwen2Moe: Family = { modelType: 'qwen2_moe', parse, write };

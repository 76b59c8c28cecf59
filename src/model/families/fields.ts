/** What families have in common in reading config.json: kinds of values, refusals, and keys that mean nothing here. */
import { DataError } from '../../errors.js';
import type { ConfigJson, ModelConfig } from '../config.js';

type Kind = 'count' | 'positive' | 'nonNegative' | 'boolean' | 'limit' | 'layers' | 'token' | 'tokens';

export interface Field {
  property: keyof ModelConfig;
  kind: Kind;
  /** Another name that versions of transformers write for the same. */
  alias?: string;
  /** What transformers takes when the key is absent; a field without one is required. */
  absent?: ModelConfig[keyof ModelConfig];
}

/** Keys of every decoder. `rope_theta`, `rope_scaling` and `rope_parameters` are read in rope.ts. */
export const decoderFields = {
  vocab_size: { property: 'vocabSize', kind: 'count' },
  hidden_size: { property: 'hiddenSize', kind: 'count' },
  num_hidden_layers: { property: 'numHiddenLayers', kind: 'count' },
  num_attention_heads: { property: 'numAttentionHeads', kind: 'count' },
  num_key_value_heads: { property: 'numKeyValueHeads', kind: 'count' },
  tie_word_embeddings: { property: 'tieWordEmbeddings', kind: 'boolean', absent: false },
  initializer_range: { property: 'initializerRange', kind: 'nonNegative', absent: 0.02 },
  rms_norm_eps: { property: 'rmsNormEps', kind: 'positive', absent: 1e-6 },
  max_position_embeddings: { property: 'maxPositionEmbeddings', kind: 'count' },
  pad_token_id: { property: 'padTokenId', kind: 'token', absent: null },
  bos_token_id: { property: 'bosTokenId', kind: 'token', absent: null },
  eos_token_id: { property: 'eosTokenId', kind: 'tokens', absent: null },
} as const satisfies Record<string, Field>;

/** Keys of every family whose load-balancing loss is that of Switch. */
export const balanceFields = {
  output_router_logits: { property: 'outputRouterLogits', kind: 'boolean', absent: false },
  router_aux_loss_coef: { property: 'routerAuxLossCoef', kind: 'nonNegative', absent: 0.001 },
} as const satisfies Record<string, Field>;

/** Keys of which only one meaning is supported, and the values that have it. */
export const decoderFixed: Readonly<Record<string, readonly unknown[]>> = {
  hidden_act: ['silu'],
  attention_dropout: [0],
  is_encoder_decoder: [false],
  chunk_size_feed_forward: [0],
  quantization_config: [null],
  per_layer_config: [null],
};

/** Known to have no effect on the weights, the loss or the gradients. Precision is a matter of the recipe. */
export const decoderWithoutEffect: readonly string[] = [
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
];

/** Whether a value of config.json is of a kind. */
export function accepts(kind: Kind, value: unknown): boolean {
  switch (kind) {
    case 'count':
      return Number.isSafeInteger(value) && (value as number) > 0;
    case 'positive':
      return typeof value === 'number' && Number.isFinite(value) && value > 0;
    case 'nonNegative':
      return typeof value === 'number' && Number.isFinite(value) && value >= 0;
    case 'boolean':
      return typeof value === 'boolean';
    case 'limit':
      return value === null || accepts('positive', value);
    case 'layers':
      return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
    case 'token':
      return value === null || (Number.isSafeInteger(value) && (value as number) >= 0);
    case 'tokens':
      return accepts('token', value) || (accepts('layers', value) && (value as unknown[]).length > 0);
  }
}

/** What a message says that is expected. */
export const expected: Record<Kind, string> = {
  count: 'a whole number above 0',
  positive: 'a number above 0',
  nonNegative: 'a number, 0 or more',
  boolean: 'true or false',
  limit: 'a number above 0 or null',
  layers: 'a list of layer numbers from 0',
  token: 'a token number or null',
  tokens: 'a token number, a list of them or null',
};

/** Throws DataError for `key` of `file`. */
export function refuse(file: string, key: string, wanted: string, found: unknown, hint?: string): never {
  throw new DataError('The model configuration cannot be honoured.', {
    file,
    key,
    expected: wanted,
    found: found === undefined ? 'nothing' : JSON.stringify(found),
    ...(hint === undefined ? {} : { hint }),
  });
}

/** The value of a key, or of its other name. Both may stand in the file if they agree. */
function aliased(key: string, { alias }: Field, json: ConfigJson, file: string): unknown {
  if (alias === undefined || json[alias] === undefined) return json[key];
  if (json[key] !== undefined && json[key] !== json[alias]) {
    refuse(file, alias, `the same as ${key}, ${JSON.stringify(json[key])}`, json[alias]);
  }
  return json[alias];
}

/** Reads honoured keys: each of its kind, or what transformers takes where it is absent. */
export function readFields(
  fields: Readonly<Record<string, Field>>,
  json: ConfigJson,
  file: string,
): Partial<ModelConfig> {
  const result: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(fields)) {
    // transformers writes null for "no such list"; elsewhere null is a value like any other.
    const found = aliased(key, field, json, file);
    const value = found === null && field.kind === 'layers' ? undefined : found;
    if (value === undefined && 'absent' in field) result[field.property] = field.absent;
    else if (accepts(field.kind, value)) result[field.property] = value;
    else refuse(file, key, expected[field.kind], value);
  }
  return result;
}

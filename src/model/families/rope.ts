/** RoPE's base and scaling, from the flat keys or from transformers 5's `rope_parameters`. */
import type { ConfigJson, Llama3Scaling, ModelConfig } from '../config.js';
import { accepts, expected, refuse } from './fields.js';

/** What a family allows. */
export interface RopeRules {
  /** What transformers takes where no base is given. */
  theta: number;
  /** Whether the scaling of Llama 3 is read. */
  llama3?: boolean;
}

type Rope = Pick<ModelConfig, 'ropeTheta' | 'ropeScaling'>;

const scalingKeys = {
  factor: 'factor',
  low_freq_factor: 'lowFreqFactor',
  high_freq_factor: 'highFreqFactor',
  original_max_position_embeddings: 'originalMaxPositionEmbeddings',
} as const satisfies Record<string, keyof Llama3Scaling>;

/**
 * Reads RoPE. Both forms may stand in the file if they agree.
 * @throws DataError naming the key
 */
export function readRope(rules: RopeRules, json: ConfigJson, file: string): Rope {
  const flat = json.rope_theta;
  if (flat !== undefined && !accepts('positive', flat)) refuse(file, 'rope_theta', expected.positive, flat);
  const scaling = readScaling(rules, json.rope_scaling, 'rope_scaling', file);
  const parameters = json.rope_parameters;
  if (parameters === undefined || parameters === null) {
    return { ropeTheta: (flat as number | undefined) ?? rules.theta, ropeScaling: scaling };
  }
  if (typeof parameters !== 'object' || Array.isArray(parameters))
    refuse(file, 'rope_parameters', 'an object', parameters);
  const { rope_theta, partial_rotary_factor = 1, ...others } = parameters as ConfigJson;
  const newer = readScaling(rules, others, 'rope_parameters', file);
  if (partial_rotary_factor !== 1)
    refuse(file, 'rope_parameters.partial_rotary_factor', '1', partial_rotary_factor);
  const theta = rope_theta ?? flat ?? rules.theta;
  if (!accepts('positive', theta)) refuse(file, 'rope_parameters.rope_theta', expected.positive, theta);
  if (flat !== undefined && flat !== theta)
    refuse(file, 'rope_theta', `${theta}, as in rope_parameters`, flat);
  if (scaling !== null && JSON.stringify(scaling) !== JSON.stringify(newer))
    refuse(file, 'rope_scaling', 'the same as in rope_parameters', json.rope_scaling);
  return { ropeTheta: theta as number, ropeScaling: newer };
}

function readScaling(rules: RopeRules, value: unknown, key: string, file: string): Llama3Scaling | null {
  if (value === undefined || value === null) return null;
  if (typeof value !== 'object' || Array.isArray(value)) refuse(file, key, 'an object or null', value);
  const { rope_type, type, ...others } = value as ConfigJson;
  const kind = rope_type ?? type ?? 'default';
  if (kind === 'llama3' && rules.llama3) return readLlama3(others, key, file);
  const allowed = rules.llama3 ? '"default" or "llama3"' : '"default"';
  // The older key is null where nothing is scaled.
  if (kind !== 'default') {
    if (key === 'rope_scaling')
      refuse(file, key, rules.llama3 ? `null or rope_type ${allowed}` : 'null', value);
    refuse(file, `${key}.rope_type`, allowed, kind);
  }
  for (const other of Object.keys(others)) refuse(file, `${key}.${other}`, 'no such key', others[other]);
  return null;
}

function readLlama3(fields: ConfigJson, key: string, file: string): Llama3Scaling {
  const scaling: Record<string, unknown> = {};
  for (const [name, property] of Object.entries(scalingKeys)) {
    if (!accepts('positive', fields[name])) refuse(file, `${key}.${name}`, expected.positive, fields[name]);
    scaling[property] = fields[name];
  }
  const unknown = Object.keys(fields).find((name) => !(name in scalingKeys));
  if (unknown !== undefined) refuse(file, `${key}.${unknown}`, 'no such key', fields[unknown]);
  const { lowFreqFactor, highFreqFactor } = scaling as unknown as Llama3Scaling;
  if (highFreqFactor <= lowFreqFactor) {
    refuse(file, `${key}.high_freq_factor`, `above low_freq_factor, ${lowFreqFactor}`, highFreqFactor);
  }
  return scaling as unknown as Llama3Scaling;
}

/** The flat keys that say the same. */
export function writeRope({ ropeTheta, ropeScaling }: Rope): ConfigJson {
  if (ropeScaling === null) return { rope_theta: ropeTheta };
  const entries = Object.entries(scalingKeys).map(([name, property]) => [name, ropeScaling[property]]);
  return { rope_theta: ropeTheta, rope_scaling: { rope_type: 'llama3', ...Object.fromEntries(entries) } };
}

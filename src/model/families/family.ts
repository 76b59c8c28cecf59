/**
 * What a family of models is: a table of config.json's keys and of parameter names. Every key is honoured, known
 * to have no effect on what is computed, or refused.
 */
import { closest } from '../../recipe/faults.js';
import type { ConfigJson, ModelConfig, ModelType } from '../config.js';
import {
  accepts,
  decoderFixed,
  decoderWithoutEffect,
  expected,
  type Field,
  readFields,
  refuse,
} from './fields.js';
import { type RopeRules, readRope, writeRope } from './rope.js';

/** Names of a layer's parameters, without the `model.layers.N.` before them. */
export interface FamilyNames {
  /**
   * Name on disk by canonical name, where they differ; `{e}` stands for the number of the expert. Canonical are the
   * names of Qwen2-MoE without that number, such as `mlp.experts.up_proj.weight`.
   */
  readonly onDisk: Readonly<Record<string, string>>;
  /**
   * What transformers 5 keeps in memory, and some folders on disk: `gateUp` [E, 2 I, H], gate rows first, and
   * `down` [E, H, I]; null where nothing is fused.
   */
  readonly fused: { readonly gateUp: string; readonly down: string } | null;
}

/** A family as its file describes it. */
interface FamilyTable {
  modelType: ModelType;
  /** For messages. */
  title: string;
  architecture: string;
  /** Honoured keys. `head_dim`, `layer_types` and RoPE's are read for every family. */
  honoured: Readonly<Record<string, Field>>;
  /** Keys of this family of which only one meaning is supported. */
  fixed?: Readonly<Record<string, readonly unknown[]>>;
  withoutEffect?: readonly string[];
  rope: RopeRules;
  /** What this family has no key for, or makes of the keys it has. */
  derive(fields: Partial<ModelConfig>, json: ConfigJson, file: string): Partial<ModelConfig>;
  /** Keys read by `derive`. */
  derived?: readonly string[];
  /** Whether a head dimension of its own may be given. */
  ownHeadDim?: boolean;
  /** What config.json says besides the honoured keys. */
  write(config: ModelConfig): ConfigJson;
  names: FamilyNames;
  submodel?: (single: ModelConfig) => ModelConfig;
  remoteCode?: readonly string[];
}

/** What a family can do. */
export interface Family {
  modelType: ModelType;
  names: FamilyNames;
  /** Reads config.json. Throws DataError naming file and key. */
  parse(json: ConfigJson, file: string): ModelConfig;
  write(config: ModelConfig, dtype: string): ConfigJson;
  /** The family and configuration of a submodel, where it is not this one with one expert. */
  submodel?: (single: ModelConfig) => ModelConfig;
  /**
   * Python files that an export carries because transformers does not know the family: names in data/remote-code.
   * The config.json written here points at them.
   */
  remoteCode: readonly string[];
}

/** What a decoder has where its family does not say otherwise. */
const plain = {
  intermediateSize: 0,
  sharedExpertIntermediateSize: 0,
  router: 'softmax',
  normTopkProb: false,
  scoreScaleFactor: 1,
  gateAddNoise: false,
  gateNoiseEpsilon: 0,
  mlpOnlyLayers: [],
  decoderSparseStep: 1,
  qkvBias: false,
  outputBias: false,
  qkNorm: 'none',
  clipQkv: null,
} as const satisfies Partial<ModelConfig>;

/** What makes a decoder dense: one expert, which is its feed-forward part, and no router. */
export const dense = {
  numExperts: 1,
  numExpertsPerTok: 1,
  router: 'none',
  outputRouterLogits: false,
  routerAuxLossCoef: 0,
} as const satisfies Partial<ModelConfig>;

/** Names of a dense decoder's feed-forward part. */
export const denseNames: FamilyNames = {
  onDisk: {
    'mlp.experts.gate_proj.weight': 'mlp.gate_proj.weight',
    'mlp.experts.up_proj.weight': 'mlp.up_proj.weight',
    'mlp.experts.down_proj.weight': 'mlp.down_proj.weight',
  },
  fused: null,
};

/** Names of experts of the Qwen families and of OLMoE. */
export const expertNames: FamilyNames = {
  onDisk: {},
  fused: { gateUp: 'mlp.experts.gate_up_proj', down: 'mlp.experts.down_proj' },
};

const everywhere = ['rope_theta', 'rope_scaling', 'rope_parameters', 'head_dim', 'layer_types'];

/** Makes a family of its table. */
export function defineFamily(table: FamilyTable): Family {
  const { modelType, names, submodel, remoteCode = [] } = table;
  return {
    modelType,
    names,
    parse: (json, file) => parse(table, json, file),
    write: (config, dtype) => write(table, config, dtype),
    ...(submodel ? { submodel } : {}),
    remoteCode,
  };
}

function parse(table: FamilyTable, json: ConfigJson, file: string): ModelConfig {
  checkOthers(table, json, file);
  const fields = readFields(table.honoured, json, file);
  const rope = readRope(table.rope, json, file);
  const heads = fields.numAttentionHeads!;
  const derived = { numKeyValueHeads: heads, ...plain, ...fields, ...table.derive(fields, json, file) };
  const config = {
    ...derived,
    ...rope,
    modelType: table.modelType,
    headDim: readHeadDim(table, fields, json, file),
  } as ModelConfig;
  checkTogether(config, file);
  return config;
}

function readHeadDim(
  table: FamilyTable,
  fields: Partial<ModelConfig>,
  json: ConfigJson,
  file: string,
): number {
  const perHead = fields.hiddenSize! / fields.numAttentionHeads!;
  const given = json.head_dim ?? perHead;
  if (json.head_dim == null || !table.ownHeadDim) {
    if (!Number.isInteger(perHead)) {
      const wanted = `a divisor of hidden_size, ${fields.hiddenSize}`;
      refuse(file, 'num_attention_heads', wanted, fields.numAttentionHeads);
    }
    if (given !== perHead) refuse(file, 'head_dim', `${perHead}, hidden_size / num_attention_heads`, given);
  }
  if (!accepts('count', given)) refuse(file, 'head_dim', expected.count, given);
  return given as number;
}

function checkOthers(table: FamilyTable, json: ConfigJson, file: string): void {
  const fixed: Record<string, readonly unknown[]> = {
    ...decoderFixed,
    ...table.fixed,
    model_type: [table.modelType],
    architectures: [[table.architecture], null],
  };
  const withoutEffect = new Set([...decoderWithoutEffect, ...(table.withoutEffect ?? [])]);
  const known = [
    ...Object.keys(table.honoured),
    ...Object.values(table.honoured).flatMap(({ alias }) => alias ?? []),
    ...Object.keys(fixed),
    ...everywhere,
    ...(table.derived ?? []),
  ];
  for (const [key, value] of Object.entries(json)) {
    const values = Object.hasOwn(fixed, key) ? fixed[key] : undefined;
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
    } else if (!known.includes(key) && !withoutEffect.has(key)) {
      const near = closest(key, known);
      const hint = near === null ? undefined : `did you mean ${near}?`;
      refuse(file, key, `no such key in a ${table.title} configuration`, value, hint);
    }
  }
}

/** What the fields must be to each other. */
function checkTogether(config: ModelConfig, file: string): void {
  const { numExperts, numExpertsPerTok, numAttentionHeads, numKeyValueHeads } = config;
  if (numExpertsPerTok > numExperts) {
    const key = config.modelType === 'llama_moe' ? 'num_selects' : 'num_experts_per_tok';
    refuse(file, key, `at most the number of experts, ${numExperts}`, numExpertsPerTok);
  }
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    const wanted = `a divisor of num_attention_heads, ${numAttentionHeads}`;
    refuse(file, 'num_key_value_heads', wanted, numKeyValueHeads);
  }
  if (config.headDim % 2 !== 0) refuse(file, 'head_dim', 'an even number, for RoPE', config.headDim);
  const beyond = config.mlpOnlyLayers.find((layer) => layer >= config.numHiddenLayers);
  if (beyond !== undefined) refuse(file, 'mlp_only_layers', `layers below ${config.numHiddenLayers}`, beyond);
  if (config.padTokenId !== null && config.padTokenId >= config.vocabSize) {
    refuse(file, 'pad_token_id', `below vocab_size, ${config.vocabSize}`, config.padTokenId);
  }
}

function write(table: FamilyTable, config: ModelConfig, dtype: string): ConfigJson {
  const json: ConfigJson = { architectures: [table.architecture], model_type: table.modelType };
  for (const [key, field] of Object.entries(table.honoured)) json[key] = config[field.property];
  if (config.headDim * config.numAttentionHeads !== config.hiddenSize) json.head_dim = config.headDim;
  return {
    ...json,
    hidden_act: 'silu',
    attention_dropout: 0,
    ...writeRope(config),
    ...table.write(config),
    use_cache: true,
    torch_dtype: dtype,
  };
}

/** `inspect`: what a model folder is and weighs, from its headers alone; no tensor is read. */
import { statSync } from 'node:fs';
import { basename } from 'node:path';
import { hasWeights } from '../formats/hf-folder.js';
import type { SafetensorsDtype } from '../formats/safetensors.js';
import type { Weights } from '../formats/weights.js';
import { type ModelConfig, submodelConfig } from '../model/config.js';
import { allParameters, type ExpertLayout, openModelFolder, readModelConfig } from '../model/model-folder.js';
import { countParameters, type Parameter } from '../model/parameters.js';
import { tokenizerFilesOf } from './companions.js';
import { readOrigin } from './origin.js';

/** What `inspect` finds. Parameters are counts. */
export interface Inspection {
  folder: string;
  family: string;
  /** `whole`: a Mixture of Experts; `submodel`: one with a single expert; `dense`: none at all. */
  kind: 'whole' | 'submodel' | 'dense';
  /** Which expert of which model a split has made this from. */
  origin: { expert: number; experts: number; parent: string } | null;
  layers: number;
  hiddenSize: number;
  vocabulary: number;
  experts: number;
  expertsPerToken: number;
  /** Width of one expert, or of a dense model's feed-forward part. */
  expertWidth: number;
  parameters: { total: number; active: number; parts: Record<string, number> };
  /** Null where there is only a configuration. */
  weights: {
    layout: ExpertLayout;
    files: { name: string; bytes: number }[];
    tensors: number;
    bytes: number;
    bytesByType: Record<string, number>;
  } | null;
  /** What each submodel would have and, in the types of this folder, weigh; null for a model without several experts. */
  submodel: { family: string; parameters: number; bytes: number | null } | null;
  /** Files of the tokenizer. */
  tokenizer: string[];
}

/**
 * Looks at a folder with config.json, and with weights or without.
 * @throws DataError for a model that is not supported and for weights that do not fit the configuration
 */
export function inspectFolder(folder: string): Inspection {
  if (!hasWeights(folder)) return describe(folder, readModelConfig(folder).config, null);
  const { config, weights, layout } = openModelFolder(folder);
  try {
    return describe(folder, config, { weights, layout });
  } finally {
    weights.close();
  }
}

function describe(
  folder: string,
  config: ModelConfig,
  stored: { weights: Weights; layout: ExpertLayout } | null,
): Inspection {
  const { total, active } = countParameters(config);
  const origin = readOrigin(folder);
  return {
    folder,
    family: config.modelType,
    kind: config.router === 'none' ? 'dense' : config.numExperts === 1 ? 'submodel' : 'whole',
    origin: origin && { expert: origin.expert, experts: origin.experts, parent: origin.parent.name },
    layers: config.numHiddenLayers,
    hiddenSize: config.hiddenSize,
    vocabulary: config.vocabSize,
    experts: config.router === 'none' ? 0 : config.numExperts,
    expertsPerToken: config.router === 'none' ? 0 : config.numExpertsPerTok,
    expertWidth: config.moeIntermediateSize,
    parameters: { total, active, parts: countParts(config) },
    weights: stored && describeWeights(stored.weights, stored.layout),
    submodel: config.numExperts > 1 ? describeSubmodel(config, stored?.weights ?? null) : null,
    tokenizer: tokenizerFilesOf(folder),
  };
}

const PARTS: readonly [RegExp, string][] = [
  [/embed_tokens/, 'embedding'],
  [/lm_head/, 'head'],
  [/self_attn/, 'attention'],
  [/norm/, 'norms'],
  [/shared_expert/, 'shared expert'],
  [/mlp/, 'feed-forward'],
];

function partOf({ part, role }: Parameter, dense: boolean): string {
  if (role === 'router') return 'router';
  if (role === 'expert' && !dense) return 'experts';
  return PARTS.find(([pattern]) => pattern.test(part))?.[1] ?? 'other';
}

function countParts(config: ModelConfig): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const parameter of allParameters(config)) {
    const name = partOf(parameter, config.router === 'none');
    counts[name] = (counts[name] ?? 0) + parameter.size;
  }
  return counts;
}

function describeWeights(weights: Weights, layout: ExpertLayout): NonNullable<Inspection['weights']> {
  const bytesByType: Partial<Record<SafetensorsDtype, number>> = {};
  let bytes = 0;
  for (const name of weights.names) {
    const info = weights.info(name);
    bytesByType[info.dtype] = (bytesByType[info.dtype] ?? 0) + info.bytes;
    bytes += info.bytes;
  }
  const files = weights.files.map((file) => ({ name: basename(file), bytes: statSync(file).size }));
  return { layout, files, tensors: weights.names.length, bytes, bytesByType };
}

function describeSubmodel(config: ModelConfig, weights: Weights | null): NonNullable<Inspection['submodel']> {
  const single = submodelConfig(config);
  const { total: parameters } = countParameters(single);
  if (weights === null) return { family: single.modelType, parameters, bytes: null };
  // A part has the same type in all experts of a folder that anybody writes; the first stands for all.
  const width = new Map<string, number>();
  for (const { part, name, size } of allParameters(config)) {
    if (!width.has(part)) width.set(part, weights.info(name).bytes / size);
  }
  const bytes = allParameters(single).reduce((sum, { part, size }) => sum + size * width.get(part)!, 0);
  return { family: single.modelType, parameters, bytes };
}

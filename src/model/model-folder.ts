/**
 * A Hugging Face folder seen as what it means: its configuration, and every tensor under the name that it has where
 * experts lie one by one, whichever of the two layouts the folder has. Nothing here loads libtorch.
 */
import { join } from 'node:path';
import { DataError } from '../errors.js';
import { openWeights, readConfig, type Weights } from '../formats/hf-folder.js';
import { isFloatType } from '../formats/round.js';
import type { FusedTensor } from '../formats/weights.js';
import { type ConfigJson, familyOf, type ModelConfig, parseModelConfig } from './config.js';
import { elementCount, type Parameter, parameterLayout } from './parameters.js';

/** Experts one by one, or those of a layer in one tensor, as transformers 5 keeps them in memory. */
export type ExpertLayout = 'per-expert' | 'fused';

/** An open folder. Close its weights when done. */
export interface ModelFolder {
  folder: string;
  /** config.json as it stands in the file. */
  json: ConfigJson;
  config: ModelConfig;
  weights: Weights;
  layout: ExpertLayout;
}

/** The configuration of a folder. Throws DataError naming config.json and the key that is wrong. */
export function readModelConfig(folder: string): { json: ConfigJson; config: ModelConfig } {
  const json = readConfig(folder);
  return { json, config: parseModelConfig(json, join(folder, 'config.json')) };
}

/** All parameters of a configuration, in the order of its blocks. */
export function allParameters(config: ModelConfig): Parameter[] {
  return parameterLayout(config).flatMap((block) => block.parameters);
}

/**
 * Opens a folder and compares its tensors with its configuration.
 *
 * @throws DataError for a configuration that is not supported and for tensors that are missing, left over, doubled,
 * of another shape or of a type that weights do not have, naming file and tensor
 */
export function openModelFolder(folder: string): ModelFolder {
  const { json, config } = readModelConfig(folder);
  const weights = openWeights(folder, fusedTensors(config));
  try {
    checkTensors(weights, allParameters(config));
  } catch (error) {
    weights.close();
    throw error;
  }
  const experts = fusedTensors(config).filter(({ parts }) => parts.length > 1);
  const fused = experts.some(({ name }) => weights.fused.includes(name));
  return { folder, json, config, weights, layout: fused ? 'fused' : 'per-expert' };
}

/**
 * Compares names, shapes and types of all tensors with what is wanted; what is too much is refused as well, so that
 * nothing is dropped in silence.
 * @throws DataError naming file and tensor
 */
function checkTensors(weights: Weights, wanted: readonly Pick<Parameter, 'name' | 'shape'>[]): void {
  const { folder } = weights;
  const names = new Set(wanted.map(({ name }) => name));
  const missing = wanted.find(({ name }) => !weights.has(name));
  if (missing) throw new DataError('A tensor is missing.', { file: folder, key: missing.name });
  const extra = weights.names.find((name) => !names.has(name));
  if (extra !== undefined) {
    const hint = 'the configuration beside it says what this model has';
    throw new DataError('A tensor has no place in this model.', {
      file: weights.file(extra),
      key: extra,
      hint,
    });
  }
  for (const { name, shape } of wanted) {
    const { dtype, shape: found } = weights.info(name);
    const place = { file: weights.file(name), key: name };
    if (found.join() !== shape.join()) {
      const [expected, other] = [`[${shape}]`, `[${found}]`];
      throw new DataError('A tensor has another shape.', { ...place, expected, found: other });
    }
    if (!isFloatType(dtype)) {
      throw new DataError('A tensor has a type that weights do not have.', {
        ...place,
        expected: 'F32, BF16, F16 or F64',
        found: dtype,
      });
    }
  }
}

/**
 * The tensors that hold the experts of a layer together, and how: gate and up [E, 2 I, H], gate rows first, and down
 * [E, H, I]. In that layout whatever else the family names otherwise on disk has its canonical name. None for
 * families that are never fused.
 */
export function fusedTensors(config: ModelConfig): FusedTensor[] {
  const { fused } = familyOf(config).names;
  if (fused === null || config.router === 'none') return [];
  const groups = new Map<string, Parameter[]>();
  for (const parameter of allParameters(config)) {
    const name = fusedName(parameter, fused);
    if (name === parameter.name) continue;
    groups.set(name, [...(groups.get(name) ?? []), parameter]);
  }
  return [...groups].map(([name, parameters]) => fuse(name, parameters));
}

/** What a parameter, or the tensor that it is a part of, is called in the fused layout. */
function fusedName(
  { part, role, layer }: Parameter,
  fused: { readonly gateUp: string; readonly down: string },
): string {
  if (role !== 'expert') return part;
  return `model.layers.${layer}.${part.endsWith('.down_proj.weight') ? fused.down : fused.gateUp}`;
}

/** Parts one after another: by expert, and of one expert in the order of the layout, gate before up. */
function fuse(name: string, parameters: readonly Parameter[]): FusedTensor {
  const ordered = [...parameters].sort((a, b) => (a.expert ?? 0) - (b.expert ?? 0));
  let offset = 0;
  const parts = ordered.map(({ name: part, shape, size }) => {
    offset += size;
    return { name: part, shape, offset: offset - size };
  });
  const [first] = ordered as [Parameter];
  if (first.expert === null) return { name, shape: first.shape, parts };
  const experts = 1 + Math.max(...ordered.map(({ expert }) => expert ?? 0));
  const rest = first.shape.slice(1);
  return { name, shape: [experts, offset / experts / elementCount(rest), ...rest], parts };
}

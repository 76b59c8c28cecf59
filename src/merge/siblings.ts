/** Only siblings are merged: submodels of one initialisation, one configuration, one recipe, all of them. */
import { join } from 'node:path';
import { DataError, RequestError } from '../errors.js';
import { canonicalJson } from '../formats/hash.js';
import { openWeights, readConfig, type Weights } from '../formats/hf-folder.js';
import { type ModelConfig, parseModelConfig, submodelConfig } from '../model/config.js';
import { parameterLayout } from '../model/parameters.js';
import { dtypeOfSafetensors } from '../model/store-files.js';
import { type Done, hashOf, refuseOtherKey } from '../run/done.js';
import type { RunFolder } from '../run/folder.js';
import { requireDone, requireFiles } from '../run/require.js';
import type { DType } from '../torch/index.js';
import { trainingSummaryOf } from '../train/summary.js';
import type { SubmodelWork } from './gamma.js';

/** A finished submodel. */
export interface Sibling {
  stage: string;
  folder: string;
  done: Done;
  work: SubmodelWork;
}

/** A finished submodel, its weights open. */
export interface OpenSibling extends Sibling {
  weights: Weights;
}

/** What all submodels must have in common. */
export interface Family {
  /** How many there are: E, or one that was trained on everything. */
  count: number;
  /** DONE of the stage that they start from, init or seed: the fingerprints that each must have begun from. */
  start: Done;
  /** The recipe values of their training. */
  reads: unknown;
}

/**
 * All submodels of a run by their DONE files alone.
 *
 * @throws RequestError where one is missing or was made from other initial weights or by another recipe, naming
 * the submodel and the key
 */
export function findSiblings(run: RunFolder, { count, start, reads }: Family): Sibling[] {
  return Array.from({ length: count }, (_, k) => {
    const stage = `submodels/${k}`;
    const folder = run.stageFolder(stage);
    const done = requireDone(run, stage);
    refuseOtherStart(folder, done, start, k);
    if (canonicalJson(done.reads) !== canonicalJson(reads))
      refuseOtherKey(join(folder, 'DONE'), done, { stage, reads, inputs: done.inputs });
    const { tokens, steps } = trainingSummaryOf(done);
    return { stage, folder, done, work: { tokens, steps } };
  });
}

/**
 * Opens the weights of all submodels after checking that they fit. Close them when done.
 *
 * @param config of the whole model
 * @throws DataError where a submodel has another configuration, or a tensor is missing, left over, or of another
 * shape or dtype; each names the file and the key
 */
export function openSiblings(
  run: RunFolder,
  siblings: readonly Sibling[],
  config: ModelConfig,
  dtype: DType,
): OpenSibling[] {
  const opened: OpenSibling[] = [];
  try {
    for (const sibling of siblings) {
      requireFiles(run, sibling.stage);
      refuseOtherConfig(sibling.folder, config);
      const weights = openWeights(sibling.folder);
      opened.push({ ...sibling, weights });
      refuseOtherTensors(weights, config, dtype);
    }
    return opened;
  } catch (error) {
    closeSiblings(opened);
    throw error;
  }
}

/** Closes the files of {@link openSiblings}. */
export function closeSiblings(siblings: readonly OpenSibling[]): void {
  for (const sibling of siblings) sibling.weights.close();
}

function refuseOtherStart(folder: string, done: Done, start: Done, k: number): void {
  for (const [own, name] of [
    ['shared', 'shared'],
    ['expert', `expert/${k}`],
  ] as const) {
    const expected = hashOf(start, name);
    if (done.inputs[own] === expected) continue;
    throw new RequestError(`Submodel ${k} was trained from other initial weights than this run's.`, {
      file: join(folder, 'DONE'),
      key: `inputs.${own}`,
      expected,
      found: done.inputs[own] ?? 'none',
      hint: 'an average of models from different initialisations is noise: train this submodel in this run',
    });
  }
}

/**
 * Refuses a folder whose configuration is not that of the submodels of `config`.
 * @throws DataError naming config.json and the first key that differs
 */
export function refuseOtherConfig(folder: string, config: ModelConfig): void {
  const file = join(folder, 'config.json');
  const found = parseModelConfig(readConfig(folder), file);
  const expected = submodelConfig(config);
  for (const key of Object.keys(expected) as (keyof ModelConfig)[]) {
    const [a, b] = [JSON.stringify(expected[key]), JSON.stringify(found[key])];
    if (a === b) continue;
    throw new DataError('A submodel has another configuration.', { file, key, expected: a, found: b });
  }
}

/** Every tensor of the submodel's layout and no other, each with its shape, all of one dtype. */
function refuseOtherTensors(weights: Weights, config: ModelConfig, dtype: DType): void {
  const wanted = parameterLayout(submodelConfig(config)).flatMap((block) => block.parameters);
  const names = new Set(wanted.map(({ name }) => name));
  const extra = weights.names.find((name) => !names.has(name));
  if (extra !== undefined) {
    throw new DataError('A tensor has no place in a submodel.', { file: weights.file(extra), key: extra });
  }
  for (const { name, shape } of wanted) {
    const found = weights.info(name);
    const same = found.shape.join() === shape.join() && dtypeOfSafetensors(found.dtype) === dtype;
    if (same) continue;
    throw new DataError('A tensor of a submodel does not fit.', {
      file: weights.file(name),
      key: name,
      expected: `${dtype} [${shape}]`,
      found: `${found.dtype} [${found.shape}]`,
    });
  }
}

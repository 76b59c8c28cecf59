/** Only siblings are merged: submodels of one initialisation, one configuration, one recipe, all of them. */
import { join } from 'node:path';
import { DataError, RequestError } from '../errors.js';
import { canonicalJson } from '../formats/hash.js';
import { openWeights, readConfig, type Weights } from '../formats/hf-folder.js';
import { type ModelConfig, parseModelConfig, submodelConfig } from '../model/config.js';
import { parameterLayout } from '../model/parameters.js';
import type { Done } from '../run/done.js';
import type { RunFolder } from '../run/folder.js';
import { requireDone } from '../run/require.js';
import type { SubmodelWork } from './gamma.js';

/** A finished submodel, its weights open. */
export interface Sibling {
  stage: string;
  done: Done;
  weights: Weights;
  work: SubmodelWork;
}

/**
 * Opens all submodels of a run after checking that they belong together. Close their weights when done.
 *
 * @param init DONE of the init stage: the fingerprints that each must have begun from
 * @param count how many there are: E, or one that was trained on everything
 * @throws RequestError where one is missing or was made from other initial weights or another recipe, DataError
 * where a tensor is missing, left over, or of another shape or dtype; each names the submodel and the key
 */
export function openSiblings(run: RunFolder, config: ModelConfig, init: Done, count: number): Sibling[] {
  const opened: Sibling[] = [];
  try {
    for (let k = 0; k < count; k++) {
      const stage = `submodels/${k}`;
      const done = requireDone(run, stage);
      const folder = run.stageFolder(stage);
      refuseOtherStart(folder, done, init, k);
      refuseOtherRecipe(folder, done, opened[0]?.done);
      refuseOtherConfig(folder, config);
      const { tokens, steps } = done.summary as unknown as SubmodelWork;
      opened.push({ stage, done, weights: openWeights(folder), work: { tokens, steps } });
      refuseOtherTensors(opened.at(-1)!, opened[0]!, config);
    }
    return opened;
  } catch (error) {
    closeSiblings(opened);
    throw error;
  }
}

/** Closes the files of {@link openSiblings}. */
export function closeSiblings(siblings: readonly Sibling[]): void {
  for (const sibling of siblings) sibling.weights.close();
}

function refuseOtherStart(folder: string, done: Done, init: Done, k: number): void {
  for (const [own, name] of [
    ['shared', 'shared'],
    ['expert', `expert/${k}`],
  ] as const) {
    if (done.inputs[own] === init.hashes[name]) continue;
    throw new RequestError(`Submodel ${k} was trained from other initial weights than this run's.`, {
      file: join(folder, 'DONE'),
      key: `inputs.${own}`,
      expected: init.hashes[name] ?? 'a fingerprint',
      found: done.inputs[own] ?? 'none',
      hint: 'an average of models from different initialisations is noise: train this submodel in this run',
    });
  }
}

function refuseOtherRecipe(folder: string, done: Done, first: Done | undefined): void {
  if (first === undefined || canonicalJson(done.reads) === canonicalJson(first.reads)) return;
  throw new RequestError(`${done.stage} was trained by another recipe than ${first.stage}.`, {
    file: join(folder, 'DONE'),
    key: 'reads',
    expected: canonicalJson(first.reads),
    found: canonicalJson(done.reads),
  });
}

function refuseOtherConfig(folder: string, config: ModelConfig): void {
  const file = join(folder, 'config.json');
  const found = parseModelConfig(readConfig(folder), file);
  const expected = submodelConfig(config);
  for (const key of Object.keys(expected) as (keyof ModelConfig)[]) {
    const [a, b] = [JSON.stringify(expected[key]), JSON.stringify(found[key])];
    if (a !== b)
      throw new DataError('A submodel has another configuration.', { file, key, expected: a, found: b });
  }
}

/** Every tensor of the submodel's layout and no other, each with its shape, all of one dtype. */
function refuseOtherTensors({ weights }: Sibling, first: Sibling, config: ModelConfig): void {
  const wanted = parameterLayout(submodelConfig(config)).flatMap((block) => block.parameters);
  const names = new Set(wanted.map(({ name }) => name));
  const extra = weights.names.find((name) => !names.has(name));
  if (extra !== undefined) {
    throw new DataError('A tensor has no place in a submodel.', { file: weights.file(extra), key: extra });
  }
  for (const { name, shape } of wanted) {
    const [found, expected] = [weights.info(name), first.weights.info(name).dtype];
    if (found.shape.join() === shape.join() && found.dtype === expected) continue;
    throw new DataError('A tensor of a submodel does not fit.', {
      file: weights.file(name),
      key: name,
      expected: `${expected} [${shape}]`,
      found: `${found.dtype} [${found.shape}]`,
    });
  }
}

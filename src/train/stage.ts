/** Trainings of a run: submodel k (S-phase), the merged model (F-phase), the full-parameter baseline. */
import { RequestError } from '../errors.js';
import { openWeights } from '../formats/hf-folder.js';
import { type ModelConfig, submodelConfig } from '../model/config.js';
import { loadTensors } from '../model/store-files.js';
import { documentsOfCluster, readAssignment } from '../partition/assignment.js';
import { submodelCount } from '../recipe/check.js';
import type { Recipe } from '../recipe/schema.js';
import type { StageRun } from '../run/context.js';
import { type Done, hashOf } from '../run/done.js';
import { requireDone, requireFiles } from '../run/require.js';
import { modelConfigOf } from '../split/stage.js';
import { openInit, openStart, startDone } from '../split/start.js';
import { corpusInputs, fillAndClose, readsOf, trainStage } from './phase.js';

/**
 * S-phase: trains submodel `k`, the backbone and expert k of each layer, on cluster k. Needs nothing of its
 * siblings.
 *
 * @throws RequestError for a k that is none of the experts, and where corpus, partition or init are missing
 */
export async function trainSubmodel(context: StageRun, k: number): Promise<Done> {
  const { run, recipe } = context;
  const config = modelConfigOf(recipe, run);
  const count = submodelCount(recipe);
  if (!Number.isInteger(k) || k < 0 || k >= count) {
    throw new RequestError('There is no such submodel.', {
      key: '--expert',
      expected: count === 1 ? '0' : `0 to ${count - 1}`,
      found: String(k),
    });
  }
  const partition = requireDone(run, 'partition');
  const start = startDone(context);
  const phase = recipe.train.submodels;
  const { batchSize } = recipe.train;
  return trainStage(context, {
    stage: `submodels/${k}`,
    command: `moe-disco train ${run.root} --expert ${k}`,
    key: 'submodels',
    config: submodelConfig(config),
    documents: documentsOfCluster(readAssignment(run.stageFolder('partition')), k),
    steps: (source) => phase.steps ?? Math.ceil((phase.epochs! * source.rowsPerEpoch) / batchSize),
    inputs: {
      tokens: hashOf(partition, `cluster/${k}`),
      shared: hashOf(start, 'shared'),
      expert: hashOf(start, `expert/${k}`),
    },
    initialise: (store) => fillAndClose(openStart(context, k), store, k),
    heldOut: false,
  });
}

/** The full-parameter baseline: the whole model from the same initial weights on all data. */
export async function trainBaseline(context: StageRun): Promise<Done> {
  const { run, recipe } = context;
  const config = modelConfigOf(recipe, run);
  const init = requireDone(run, 'init');
  return trainStage(context, {
    stage: 'baseline',
    command: `moe-disco baseline ${run.root}`,
    key: 'baseline',
    config,
    documents: null,
    steps: () => recipe.train.baseline.steps,
    inputs: { ...corpusInputs(context), ...init.hashes },
    initialise: (store) => fillAndClose(openInit(context), store),
    heldOut: true,
  });
}

/** F-phase: the merged model on all data, with fresh moments. */
export async function fineTune(context: StageRun): Promise<Done> {
  const { run, recipe } = context;
  const merged = requireDone(run, 'merged');
  return trainStage(context, {
    stage: 'finetuned',
    command: `moe-disco finetune ${run.root}`,
    key: 'finetune',
    config: modelConfigOf(recipe, run),
    documents: null,
    steps: () => recipe.train.finetune.steps,
    inputs: { ...corpusInputs(context), weights: hashOf(merged, 'weights') },
    initialise: (store) => {
      requireFiles(run, 'merged');
      const folder = run.stageFolder('merged');
      const weights = openWeights(folder);
      try {
        loadTensors(store, weights, folder);
      } finally {
        weights.close();
      }
    },
    heldOut: true,
  });
}

/**
 * The recipe values that the training of every submodel depends on: part of its key.
 *
 * @param config of the whole model
 */
export function submodelReads(recipe: Recipe, config: ModelConfig): unknown {
  return readsOf(recipe, { key: 'submodels', config: submodelConfig(config), heldOut: false });
}

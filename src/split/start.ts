/**
 * Where trainings start: the initial weights of a run, or what its seed phase has made of them. One tensor at a
 * time, whether it follows from the seed or lies in a file; every part is compared with its fingerprint.
 */
import { DataError, EngineError } from '../errors.js';
import { openWeights, type Weights } from '../formats/hf-folder.js';
import { type ModelConfig, submodelConfig } from '../model/config.js';
import { fillInitialWeights, initialTensor } from '../model/initial-weights.js';
import type { Parameter } from '../model/parameters.js';
import type { ParameterStore } from '../model/store.js';
import { dtypeOfSafetensors, fingerprint } from '../model/store-files.js';
import { hasSeedPhase } from '../recipe/check.js';
import type { Recipe } from '../recipe/schema.js';
import type { StageRun } from '../run/context.js';
import { type Done, hashOf } from '../run/done.js';
import { requireDone, requireFiles } from '../run/require.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { ParameterIndex } from './origins.js';
import { expertPart, OpenParts, partFile, partsOf } from './parts.js';
import { dtypeOf, modelConfigOf } from './stage.js';

type Run = Pick<StageRun, 'run' | 'recipe'>;

/** The weights that a training begins with. Close it when done. */
export interface Start {
  /** One tensor of the whole model, on the CPU, in the dtype of the recipe. The caller frees it. */
  tensor(parameter: Parameter): Tensor;
  /**
   * Fills a store: of the whole model, or of the submodel of `expert`.
   * @throws EngineError where a part that was drawn is not that of the fingerprint, DataError for one that was read
   */
  fill(store: ParameterStore, expert?: number): void;
  close(): void;
}

/** Whether the weights that the submodels start from are drawn, so that the seed and the configuration name them. */
export function followsFromSeed(recipe: Recipe): boolean {
  return recipe.init.from === 'scratch' && !hasSeedPhase(recipe);
}

/** DONE of the stage that the submodels start from, init or seed: `shared`, `router`, `expert/k` are its hashes. */
export function startDone({ run, recipe }: Run): Done {
  return requireDone(run, hasSeedPhase(recipe) ? 'seed' : 'init');
}

/**
 * What the submodels start from, and the merge measures changes against: the seed phase's result where there is one.
 *
 * @param expert whoever trains one submodel needs the parts of this expert only
 */
export function openStart(context: Run, expert?: number): Start {
  if (!hasSeedPhase(context.recipe)) return openInit(context, expert);
  return context.recipe.train.seed.model === 'whole'
    ? openPartsOf(context, 'seed', expert)
    : openSeededSubmodel(context, expert);
}

/** The initial weights: what the seed phase and the baseline start from. `expert` as in {@link openStart}. */
export function openInit(context: Run, expert?: number): Start {
  const { run, recipe } = context;
  const init = requireDone(run, 'init');
  if (recipe.init.from !== 'scratch') return openPartsOf(context, 'init', expert);
  const { seed } = recipe;
  const [config, dtype] = [modelConfigOf(recipe, run), dtypeOf(recipe)];
  return {
    tensor: (parameter) => initialTensor(parameter, config, { seed, dtype }),
    fill: (store, k) => {
      fillInitialWeights(store, { seed, ...(k === undefined ? {} : { expert: k }) });
      expectFingerprints(store, init, k, drawnOtherwise);
    },
    close: () => {},
  };
}

function openPartsOf({ run, recipe }: Run, stage: 'init' | 'seed', expert: number | undefined): Start {
  const config = modelConfigOf(recipe, run);
  const parts = partsOf(config).filter((part) => expert === undefined || (part.expert ?? expert) === expert);
  const done = requireFiles(run, stage, parts.map(partFile));
  const folder = run.stageFolder(stage);
  const open = new OpenParts(folder, parts);
  const refuse = damaged(folder);
  const tensor = (parameter: Parameter): Tensor => open.tensor(parameter);
  return {
    ...{ tensor, close: () => open.close() },
    fill: (store, k) => fill(store, { config, tensor, done, refuse }, k),
  };
}

/** One submodel's backbone, its expert for every expert, the initial router. */
function openSeededSubmodel(context: Run, expert: number | undefined): Start {
  const { run, recipe } = context;
  const config = modelConfigOf(recipe, run);
  const done = requireFiles(run, 'seed');
  const init = openInit(context, expert);
  let weights: Weights;
  try {
    weights = openWeights(run.stageFolder('seed'));
  } catch (error) {
    init.close();
    throw error;
  }
  const index = new ParameterIndex(submodelConfig(config));
  const tensor = (parameter: Parameter): Tensor => {
    const { part, role } = parameter;
    if (role === 'router') return init.tensor(parameter);
    const { name } = index.find(part, role === 'expert' ? 0 : null)!;
    const { shape, dtype: stored } = weights.info(name);
    return torch.fromBytes(weights.read(name), [...shape], dtypeOfSafetensors(stored));
  };
  return {
    tensor,
    fill: (store, k) => fill(store, { config, tensor, done, refuse: damaged(weights.folder) }, k),
    close: () => {
      weights.close();
      init.close();
    },
  };
}

/** Makes the error for a part that is not as its fingerprint says. */
type Refuse = (details: { key: string; expected: string; found: string }) => Error;

const damaged =
  (folder: string): Refuse =>
  (details) =>
    new DataError('The initial weights are not as they were written.', {
      file: folder,
      ...details,
      hint: 'moe-disco verify RUN finds the file; bring it back, or remove the folder and make it again',
    });

const drawnOtherwise: Refuse = (details) =>
  new EngineError('The initial weights made here are not those that the run was begun with.', {
    ...details,
    hint: 'use the version of this program that made the run: see init/manifest.json',
  });

interface Filling {
  /** Of the whole model. */
  config: ModelConfig;
  tensor(parameter: Parameter): Tensor;
  done: Done;
  refuse: Refuse;
}

function fill(store: ParameterStore, filling: Filling, expert: number | undefined): void {
  const whole = new ParameterIndex(filling.config);
  for (const { name, part, role, expert: own, size, shape } of store.parameters) {
    torch.scope(() =>
      torch.noGrad(() => {
        const all = filling.tensor(whole.find(part, role === 'expert' ? (expert ?? own) : null)!);
        // Of a router a submodel has the elements of its own row, which it does not train.
        const mine = role === 'router' && expert !== undefined;
        const values = mine
          ? all
              .flatten()
              .narrow(0, expert * size, size)
              .view([...shape])
          : all;
        store.parameter(name).copy_(values);
      }),
    );
  }
  expectFingerprints(store, filling.done, expert, filling.refuse);
}

/** Compares every part of a store, or of submodel `expert`, with the fingerprints of a finished stage. */
function expectFingerprints(
  store: ParameterStore,
  done: Done,
  expert: number | undefined,
  refuse: Refuse,
): void {
  const compare = (name: string, found: string): void => {
    const expected = hashOf(done, name);
    if (found !== expected) throw refuse({ key: name, expected, found });
  };
  compare('shared', fingerprint(store, 'backbone'));
  if (expert !== undefined) {
    compare(expertPart(expert).name, fingerprint(store, 'expert', 0));
    return;
  }
  for (const { name, role, expert: k } of partsOf(store.config)) {
    if (role !== 'backbone') compare(name, fingerprint(store, role, k));
  }
}

/**
 * The init stage: the model's configuration, its initial weights and their fingerprints. Weights that follow from
 * the seed are not written: every worker makes its own theta_shared and theta_k and compares fingerprints. Those of
 * a folder lie in init/, part by part.
 */

import { setImmediate as turn } from 'node:timers/promises';
import { rowReads } from '../corpus/batches.js';
import { RequestError } from '../errors.js';
import { writeJson } from '../formats/atomic.js';
import { type ModelConfig, parseModelConfig, toHuggingFaceConfig } from '../model/config.js';
import { initialTensor } from '../model/initial-weights.js';
import { allParameters } from '../model/model-folder.js';
import { countParameters } from '../model/parameters.js';
import { beginFingerprint } from '../model/store-files.js';
import { precisionFault } from '../recipe/check.js';
import type { Recipe } from '../recipe/schema.js';
import type { StageRun } from '../run/context.js';
import { type Done, hashOf } from '../run/done.js';
import type { RunFolder } from '../run/folder.js';
import { requireDone } from '../run/require.js';
import { runStage, type StageContext, type StageResult } from '../run/stage.js';
import * as torch from '../torch/index.js';
import { identifySource, identityHash } from './identity.js';
import { makeInitialWeights } from './make.js';
import { partsOf } from './parts.js';

/** The model of a recipe. Throws DataError naming the key of its configuration that is wrong. */
export function modelConfigOf(recipe: Recipe, run: RunFolder): ModelConfig {
  return parseModelConfig(recipe.model.config, `${run.recipeFile} (model.config)`);
}

/**
 * The one dtype of weights, compute, gradients and moments.
 * @throws RequestError for a precision that training cannot do, naming its key
 */
export function dtypeOf(recipe: Recipe): 'float32' | 'bfloat16' {
  const fault = precisionFault(recipe.train.precision);
  if (fault !== null) throw new RequestError('This precision cannot be trained in yet.', { ...fault });
  return recipe.train.precision.weights;
}

/**
 * Fixes the initial weights: theta_shared, theta_1 .. theta_E and the router, each by its fingerprint.
 *
 * @throws DataError, RequestError where the folder that the recipe starts from does not fit; StoppedError when asked
 * to stop: the stage begins anew
 */
export async function initialise(context: StageRun): Promise<Done> {
  const { run, recipe, reporter } = context;
  const { init, seed } = recipe;
  const config = modelConfigOf(recipe, run);
  const json = toHuggingFaceConfig(config, dtypeOf(recipe));
  const identity = init.from === 'scratch' ? null : await identifySource(run, recipe);
  return runStage(
    {
      run,
      stage: 'init',
      reads: { seed, model: { config: json }, ...(identity === null ? {} : initReads(recipe)) },
      inputs: {
        ...(identity === null ? {} : { source: identityHash(identity) }),
        ...(countsUsage(recipe) ? { train: hashOf(requireDone(run, 'corpus'), 'train') } : {}),
      },
      command: `moe-disco init ${run.root}`,
      versions: { torch: torch.version() },
      seeds: { weights: seed },
      say: (text) => reporter.say(text),
    },
    (stage) =>
      identity === null
        ? drawFromSeed(context, stage, config, json)
        : makeInitialWeights(context, stage, { config, dtype: dtypeOf(recipe), json, identity }),
  );
}

/** Whether the choice of experts depends on a sample of the corpus. */
function countsUsage({ init }: Recipe): boolean {
  return init.from === 'folder' && init.experts === 'mostUsed';
}

/** Recipe values that weights made of a folder depend on; part of the key. Where the folder lies is none. */
function initReads(recipe: Recipe): { init: unknown; corpus?: unknown } {
  const { from, experts, neurons, sampleTokens } = recipe.init;
  if (from === 'dense') return { init: { from, neurons } };
  if (!countsUsage(recipe)) return { init: { from, experts } };
  return { init: { from, experts, sampleTokens }, corpus: rowReads(recipe.corpus) };
}

async function drawFromSeed(
  { recipe, reporter }: StageRun,
  stage: StageContext,
  config: ModelConfig,
  json: Record<string, unknown>,
): Promise<StageResult> {
  const { seed } = recipe;
  const dtype = dtypeOf(recipe);
  const all = allParameters(config);
  const hashes: Record<string, string> = {};
  for (const { name, role, expert } of partsOf(config)) {
    const print = beginFingerprint(all, dtype, role, expert);
    for (const parameter of print.parameters) {
      print.add(
        parameter,
        torch.scope(() => initialTensor(parameter, config, { seed, dtype }).bytes()),
      );
      // Of a large model this takes minutes, in which signals and the lock's renewal must not wait.
      await turn();
    }
    hashes[name] = print.digest();
  }
  const files = [
    writeJson(stage.path('config.json'), json, stage.assertOwned),
    writeJson(stage.path('fingerprints.json'), { format: 1, seed, dtype, ...hashes }, stage.assertOwned),
  ];
  const parameters = countParameters(config);
  reporter.say(`init: ${parameters.total.toLocaleString('en')} parameters from seed ${seed}`);
  return { outputs: files, hashes, summary: { parameters: { ...parameters } } };
}

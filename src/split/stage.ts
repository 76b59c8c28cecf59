/**
 * The init stage: the model's configuration and the fingerprints of its initial weights. The weights themselves
 * follow from the seed, so every worker makes its own theta_shared and theta_k and compares fingerprints.
 */
import { RequestError } from '../errors.js';
import { writeJson } from '../formats/atomic.js';
import { type ModelConfig, parseModelConfig, toHuggingFaceConfig } from '../model/config.js';
import { fillInitialWeights } from '../model/initial-weights.js';
import { countParameters } from '../model/parameters.js';
import { ParameterStore } from '../model/store.js';
import { fingerprint } from '../model/store-files.js';
import { precisionFault } from '../recipe/check.js';
import type { Recipe } from '../recipe/schema.js';
import type { StageRun } from '../run/context.js';
import type { Done } from '../run/done.js';
import type { RunFolder } from '../run/folder.js';
import { runStage } from '../run/stage.js';
import * as torch from '../torch/index.js';

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
 */
export async function initialise(context: StageRun): Promise<Done> {
  const { run, recipe, reporter } = context;
  const config = modelConfigOf(recipe, run);
  const dtype = dtypeOf(recipe);
  const json = toHuggingFaceConfig(config, dtype);
  return runStage(
    {
      run,
      stage: 'init',
      reads: { seed: recipe.seed, model: { config: json } },
      inputs: {},
      command: `moe-disco init ${run.root}`,
      versions: { torch: torch.version() },
      seeds: { weights: recipe.seed },
      say: (text) => reporter.say(text),
    },
    async (stage) => {
      const store = new ParameterStore(config, { dtype });
      try {
        fillInitialWeights(store, { seed: recipe.seed });
        const experts = Array.from({ length: config.numExperts }, (_, k) => [
          `expert/${k}`,
          fingerprint(store, 'expert', k),
        ]);
        const hashes: Record<string, string> = {
          shared: fingerprint(store, 'backbone'),
          router: fingerprint(store, 'router'),
          ...Object.fromEntries(experts),
        };
        const parameters = countParameters(config);
        const files = [
          writeJson(stage.path('config.json'), json, stage.assertOwned),
          writeJson(
            stage.path('fingerprints.json'),
            { format: 1, seed: recipe.seed, dtype, ...hashes },
            stage.assertOwned,
          ),
        ];
        reporter.say(`init: ${parameters.total.toLocaleString('en')} parameters from seed ${recipe.seed}`);
        return { outputs: files, hashes, summary: { parameters: { ...parameters } } };
      } finally {
        store.dispose();
      }
    },
  );
}

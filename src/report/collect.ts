/** Reads what a comparison is made from out of a run folder. Changes nothing. */
import { basename } from 'node:path';
import { RequestError } from '../errors.js';
import { evaluationSchema } from '../evaluate/types.js';
import { readJson } from '../formats/atomic.js';
import { hashJson } from '../formats/hash.js';
import { parseModelConfig } from '../model/config.js';
import { hasSeedPhase, submodelCount } from '../recipe/check.js';
import { resolveRecipe } from '../recipe/load.js';
import type { Recipe } from '../recipe/schema.js';
import type { RunFolder } from '../run/folder.js';
import { readLedger, sumLedger } from '../run/ledger.js';
import { requireDone, requireFiles } from '../run/require.js';
import type { ComparisonInput, TrainingRecord } from './comparison.js';
import { readCurve } from './curves.js';

/** The resolved recipe of a run. The corpus text need not be there any more. */
export function recipeOf(run: RunFolder): Recipe {
  return resolveRecipe(run.readRecipe(), run.root, { files: 'ignore' });
}

/** Stages whose results are compared. */
function stagesOf(recipe: Recipe): string[] {
  const submodels = submodelCount(recipe);
  const parts = Array.from({ length: submodels }, (_, k) => `submodels/${k}`);
  return [
    'partition',
    ...(hasSeedPhase(recipe) ? ['seed'] : []),
    ...parts,
    'merged',
    'finetuned',
    'baseline',
    'evaluation',
  ];
}

/**
 * Content hashes of everything that is compared, by `stage:name`.
 * @throws RequestError naming the first stage that is not finished
 */
export function comparisonInputs(run: RunFolder, recipe: Recipe): Record<string, string> {
  const inputs: Record<string, string> = {};
  for (const stage of stagesOf(recipe)) {
    const { hashes, key } = requireDone(run, stage);
    inputs[`${stage}:key`] = key;
    for (const [name, hash] of Object.entries(hashes)) inputs[`${stage}:${name}`] = hash;
  }
  return inputs;
}

/** What a stage took without the held-out losses on the way: watching is no part of training. */
function secondsOf(run: RunFolder, stage: string): number {
  const { seconds = 0, evaluateSeconds = 0 } = sumLedger(readLedger(run.stageFolder(stage))).totals;
  return Math.max(0, seconds - evaluateSeconds);
}

function trainingRecord(run: RunFolder, stage: string): TrainingRecord {
  requireFiles(run, stage, ['metrics.jsonl']);
  const folder = run.stage(stage);
  const entries = readLedger(folder.folder);
  const curve = readCurve(folder.path('metrics.jsonl'));
  const steps = curve.training.at(-1)?.step;
  if (steps === undefined) {
    throw new RequestError(`Training ${stage} recorded no step.`, {
      file: folder.path('metrics.jsonl'),
      expected: 'one line for each step',
    });
  }
  return { steps, seconds: secondsOf(run, stage), device: entries.at(-1)?.device ?? 'cpu', curve };
}

/**
 * Everything that is compared in one run.
 * @throws RequestError when a stage is not finished, DataError when a file of it is not what it should be
 */
export function collect(run: RunFolder, recipe: Recipe = recipeOf(run)): ComparisonInput {
  const config = parseModelConfig(recipe.model.config, run.recipeFile);
  const submodels = submodelCount(recipe);
  const inputs = comparisonInputs(run, recipe);
  return {
    run: basename(run.root),
    id: hashJson({ inputs, cost: recipe.cost }),
    recipe,
    config,
    seed: hasSeedPhase(recipe) ? trainingRecord(run, 'seed') : null,
    submodels: Array.from({ length: submodels }, (_, k) => trainingRecord(run, `submodels/${k}`)),
    finetune: trainingRecord(run, 'finetuned'),
    baseline: trainingRecord(run, 'baseline'),
    extraSeconds: { partition: secondsOf(run, 'partition'), merge: secondsOf(run, 'merged') },
    evaluation: readJson(run.stage('evaluation').path('evaluation.json'), evaluationSchema),
  };
}

/** Run folders together with their recipes. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { loadRecipe, toYaml } from '../recipe/load.js';
import type { Recipe } from '../recipe/schema.js';
import { fork, RunFolder } from '../run/folder.js';
import { recipeFile } from './shipped.js';

/** A run and its recipe. */
export interface OpenRun {
  run: RunFolder;
  recipe: Recipe;
}

/**
 * The run in `folder` and its recipe. Files that the recipe names are looked at by the stages that read them:
 * a run that was carried to another machine needs few.
 * @throws RequestError when `folder` is no run folder
 */
export function openRun(folder: string): OpenRun {
  const run = RunFolder.open(folder);
  return { run, recipe: loadRecipe(run.recipeFile, [], { files: 'ignore' }).recipe };
}

/**
 * Loads a recipe and makes its run folder, or finds it there. Starts nothing.
 * @param request.recipe a file, the name of a shipped recipe, or a run folder, which then goes on
 * @param request.overrides texts `key.path=value`
 * @param request.into the run folder; otherwise runs/NAME under the working directory
 * @param warn told what the recipe's author should know
 * @throws RequestError for a recipe that cannot be used and for a folder that holds something else
 */
export function makeRun(
  request: { recipe: string; overrides?: readonly string[]; into?: string },
  warn: (text: string) => void,
): OpenRun {
  const goesOn = existsSync(join(request.recipe, 'recipe.yaml'));
  const file = goesOn ? join(request.recipe, 'recipe.yaml') : recipeFile(request.recipe);
  const { recipe, warnings } = loadRecipe(file, request.overrides ?? [], {
    files: goesOn ? 'ignore' : 'require',
  });
  for (const warning of warnings) warn(`Warning: ${warning}`);
  const folder = request.into ?? (goesOn ? request.recipe : join('runs', recipe.name));
  return { run: RunFolder.create(resolve(folder), toYaml(recipe)), recipe };
}

/**
 * Makes a run from another one with some values of its recipe replaced. What does not depend on the change is
 * referred to and not done again.
 */
export function forkRun(folder: string, into: string, overrides: readonly string[]): OpenRun {
  const run = RunFolder.open(folder);
  const { recipe } = loadRecipe(run.recipeFile, overrides, { files: 'ignore' });
  return { run: fork(run, into, toYaml(recipe)), recipe };
}

/** Run folders together with their recipes, and what of both is refused before anything starts. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseModelConfig } from '../model/config.js';
import { type LoadedRecipe, loadRecipe, resolveRecipe, toYaml } from '../recipe/load.js';
import type { Recipe } from '../recipe/schema.js';
import { fork, RunFolder } from '../run/folder.js';
import { checkSource } from '../split/source.js';
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
 * @param fits called before a folder is made anew; throws where this machine has no room for the run
 * @throws RequestError for a recipe that cannot be used and for a folder that holds something else
 */
export function makeRun(
  request: { recipe: string; overrides?: readonly string[]; into?: string },
  warn: (text: string) => void,
  fits: (recipe: Recipe, folder: string) => void = () => {},
): OpenRun {
  const goesOn = existsSync(join(request.recipe, 'recipe.yaml'));
  const file = goesOn ? join(request.recipe, 'recipe.yaml') : recipeFile(request.recipe);
  const loaded = loadRecipe(file, request.overrides ?? [], { files: goesOn ? 'ignore' : 'require' });
  // A run that goes on has its initial weights, or looks at their folder when it makes them.
  const ofSource = refuseModel(loaded, !goesOn);
  const { recipe, warnings } = loaded;
  for (const warning of [...warnings, ...ofSource]) warn(`Warning: ${warning}`);
  const folder = resolve(request.into ?? (goesOn ? request.recipe : join('runs', recipe.name)));
  if (!existsSync(join(folder, 'recipe.yaml'))) fits(recipe, folder);
  return { run: RunFolder.create(folder, toYaml(recipe), [], complete), recipe };
}

/**
 * Makes a run from another one with some values of its recipe replaced. What does not depend on the change is
 * referred to and not done again.
 */
export function forkRun(folder: string, into: string, overrides: readonly string[]): OpenRun {
  const run = RunFolder.open(folder);
  const loaded = loadRecipe(run.recipeFile, overrides, { files: 'ignore' });
  refuseModel(loaded);
  const { recipe } = loaded;
  return { run: fork(run, into, toYaml(recipe), complete), recipe };
}

/**
 * Refuses a model whose configuration cannot be honoured, or that cannot be made of the folder that training starts
 * from, before a folder is made.
 * @returns what is to be said about that folder; nothing where it is not there
 * @throws DataError, RequestError naming the key
 */
export function refuseModel({ recipe, source }: LoadedRecipe, lookAtFolder = true): string[] {
  const config = parseModelConfig(recipe.model.config, source.config);
  const { folder } = recipe.init;
  return lookAtFolder && folder !== null && existsSync(folder) ? checkSource(recipe, config) : [];
}

/** A recipe of a run folder, whose files need not be there, with the keys that are newer than the run. */
function complete(recipe: unknown): unknown {
  return resolveRecipe(recipe, '/', { files: 'ignore' });
}

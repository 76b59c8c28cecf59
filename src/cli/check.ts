/** `check RECIPE`: everything that can be known before anything is trained. */
import type { Command } from '@commander-js/extra-typings';
import { type Plan, planRecipe } from '../cost/plan.js';
import { EnvironmentError } from '../errors.js';
import { refuseTooSmall } from '../launch/room.js';
import { refuseModel } from '../launch/run-recipe.js';
import { recipeFile } from '../launch/shipped.js';
import { recipeError } from '../recipe/faults.js';
import { isHubPath } from '../recipe/hub-path.js';
import { loadRecipe } from '../recipe/load.js';
import type { Recipe } from '../recipe/schema.js';
import { overridesArgument } from './arguments.js';
import { planText } from './plan-text.js';

/** What would stop the run on this machine. A warning: a recipe is often checked where it is not run. */
function roomWarnings(plan: Plan, { execution }: Recipe): string[] {
  try {
    refuseTooSmall(plan, process.cwd(), execution.devices);
    return [];
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    return [
      `${error.message} Needed: ${error.expected}; found: ${error.found}. A run here would be refused.`,
    ];
  }
}

/** Sources that are not looked at, since that would take a network. */
function hubNotes({ corpus }: Recipe): string[] {
  const paths = [corpus.train, corpus.validation, corpus.test].flatMap((source) => source?.path ?? []);
  return paths.filter(isHubPath).map((path) => `${path}: on the Hub, not looked at.`);
}

/** Adds the command. */
export function addCheck(program: Command): void {
  program
    .command('check')
    .summary('check a recipe and estimate parameters, memory, disk and dollars')
    .description(
      'Loads a recipe, checks its keys, files and shapes, and prints what it would do. Allocates, downloads and trains ' +
        'nothing.',
    )
    .argument('<recipe>', 'a recipe file, or the name of a shipped one')
    .addArgument(overridesArgument())
    .action((recipe, overrides) => {
      const loaded = loadRecipe(recipeFile(recipe), overrides, { files: 'report' });
      const warnings = [...loaded.warnings, ...refuseModel(loaded)];
      const plan = planRecipe(loaded.recipe);
      process.stdout.write(
        planText(plan, [...warnings, ...hubNotes(loaded.recipe), ...roomWarnings(plan, loaded.recipe)]),
      );
      const { file, missing } = loaded.source;
      if (missing.length > 0) throw recipeError(file, missing);
    });
}

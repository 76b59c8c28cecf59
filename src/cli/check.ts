/** `check RECIPE`: everything that can be known before anything is trained. */
import type { Command } from '@commander-js/extra-typings';
import { planRecipe } from '../cost/plan.js';
import { recipeFile } from '../launch/shipped.js';
import { recipeError } from '../recipe/faults.js';
import { loadRecipe } from '../recipe/load.js';
import { overridesArgument } from './arguments.js';
import { planText } from './plan-text.js';

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
      process.stdout.write(planText(planRecipe(loaded.recipe), loaded.warnings));
      const { file, missing } = loaded.source;
      if (missing.length > 0) throw recipeError(file, missing);
    });
}

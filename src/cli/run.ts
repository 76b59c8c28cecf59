/** `run RECIPE`: the whole of Algorithm 1 and its comparison. */
import { type Command, Option } from '@commander-js/extra-typings';
import { runRecipe } from '../launch/local.js';
import { withSession } from '../launch/session.js';
import { devicesOption, overridesArgument } from './arguments.js';
import { printComparison } from './comparison.js';

/** Adds the command. */
export function addRun(program: Command): void {
  program
    .command('run')
    .summary('train a model the DisCo way and compare it with full-parameter training')
    .description(
      'Runs every stage of a recipe: tokens, clusters, one submodel for each cluster, merge, fine-tuning, baseline, ' +
        'evaluation, comparison. What is done is not done again: the same command continues an interrupted run.',
    )
    .argument('<recipe>', 'a recipe file, a run folder, or the name of a shipped recipe: demo, tiny')
    .addArgument(overridesArgument())
    .addOption(
      new Option('--into <run>', 'the run folder (default: runs/NAME, NAME being that of the recipe)'),
    )
    .addOption(devicesOption())
    .action((recipe, overrides, { into, devices }) =>
      withSession(async (session) => {
        const options = {
          ...(into === undefined ? {} : { into }),
          ...(devices === undefined ? {} : { devices }),
        };
        const { folder } = await runRecipe({ recipe, overrides, ...options }, session);
        session.reporter.close();
        await printComparison([folder]);
      }),
    );
}

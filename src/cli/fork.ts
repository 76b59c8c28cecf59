/** `fork RUN NEW key=value`: another run that shares what the change does not touch. */
import type { Command } from '@commander-js/extra-typings';
import { forkRun } from '../launch/run-recipe.js';
import { overridesArgument, runArgument } from './arguments.js';

/** Adds the command. */
export function addFork(program: Command): void {
  program
    .command('fork')
    .summary('make a run from another one with some values changed')
    .description(
      'Makes the run folder NEW with the recipe of RUN, some values replaced. Every finished stage that does not depend ' +
        'on the change is referred to, not repeated: another merge never trains a submodel again.',
    )
    .addArgument(runArgument())
    .argument('<new>', 'the folder of the new run')
    .addArgument(overridesArgument())
    .action((run, into, overrides) => {
      const made = forkRun(run, into, overrides);
      process.stdout.write(`${made.run.root} is made. It goes on with: moe-disco run ${into}\n`);
    });
}

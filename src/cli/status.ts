/** `status RUN`: how far a run is, and what it has cost. */
import { setTimeout as wait } from 'node:timers/promises';
import type { Command } from '@commander-js/extra-typings';
import { openRun } from '../launch/run-recipe.js';
import { toText } from '../report/layout.js';
import { runProgress, statusSections } from '../report/status.js';
import { runArgument } from './arguments.js';

/** Seconds between two looks of --watch. */
const EVERY = 2;

const CLEAR = '\u001b[H\u001b[2J';

/** Adds the command. */
export function addStatus(program: Command): void {
  program
    .command('status')
    .summary('show how far a run is: steps, losses, speed, time left, dollars')
    .description(
      'Reads what the stages of a run have recorded, wherever they run: steps, losses, tokens per second, time left, ' +
        'dollars so far and expected. Disturbs nothing.',
    )
    .addArgument(runArgument())
    .option('--watch', `show it again every ${EVERY} seconds until interrupted or all is done`)
    .option('--json', 'as JSON, for scripts')
    .action(async (folder, { watch, json }) => {
      const { run, recipe } = openRun(folder);
      for (;;) {
        const progress = runProgress(run, recipe);
        const text =
          json === true
            ? `${JSON.stringify(progress)}\n`
            : toText(statusSections(progress), process.stdout.isTTY === true);
        process.stdout.write(watch === true && process.stdout.isTTY && json !== true ? CLEAR + text : text);
        if (watch !== true || progress.stages.every(({ state }) => state === 'done')) return;
        await wait(EVERY * 1000);
      }
    });
}

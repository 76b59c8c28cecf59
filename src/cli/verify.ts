/** `verify RUN`: reads every result again and compares it with what its stage recorded. */
import type { Command } from '@commander-js/extra-typings';
import { DataError } from '../errors.js';
import { RunFolder } from '../run/folder.js';
import { verifyRun } from '../run/views.js';
import { runArgument } from './arguments.js';

/** Adds the command. */
export function addVerify(program: Command): void {
  program
    .command('verify')
    .summary('read every result of a run again and compare it with its recorded hash')
    .description(
      'Reads all files of the finished stages of a run and compares sizes and SHA-256 with what was recorded.',
    )
    .addArgument(runArgument())
    .action(async (folder) => {
      const run = RunFolder.open(folder);
      const faults = await verifyRun(run);
      if (faults.length > 0) {
        const lines = faults.map(
          ({ file, problem, expected, found }) =>
            `  ${file}: ${problem}; expected ${expected}, found ${found}`,
        );
        throw new DataError(
          [`${faults.length} of the files of ${run.root} are not as recorded:`, ...lines].join('\n'),
        );
      }
      process.stdout.write(`${run.root}: every file of ${run.stages().length} stages is as recorded.\n`);
    });
}

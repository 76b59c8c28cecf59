/** `verify RUN`: reads every result again and compares it with what its stage recorded. */
import type { Command } from '@commander-js/extra-typings';
import { DataError } from '../errors.js';
import { RunFolder } from '../run/folder.js';
import { runStatus, verifyRun } from '../run/views.js';
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
          [
            `${faults.length} of the files of ${run.root} ${faults.length === 1 ? 'is' : 'are'} not as recorded:`,
            ...lines,
          ].join('\n'),
          { hint: `delete the folder of that stage and run again: moe-disco run ${folder}` },
        );
      }
      const states = runStatus(run).map(({ state }) => state);
      const open = states.filter((state) => state !== 'done').length;
      const rest = open === 0 ? '' : ` ${open} more ${open === 1 ? 'has' : 'have'} begun and not ended.`;
      const finished = states.length - open;
      process.stdout.write(
        finished === 0
          ? `${run.root}: no stage is finished yet, so there is nothing to verify.${rest}\n`
          : `${run.root}: every file of ${finished} finished ${finished === 1 ? 'stage' : 'stages'} is as recorded.${rest}\n`,
      );
    });
}

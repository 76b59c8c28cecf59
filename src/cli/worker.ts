/** `worker RUN`: not for people. How a supervisor starts a copy of this program; see src/launch/worker.ts. */
import type { Command } from '@commander-js/extra-typings';
import { RequestError } from '../errors.js';
import { isWorker } from '../launch/process.js';
import { serve } from '../launch/worker.js';
import { deviceOption, runArgument } from './arguments.js';

/** Adds the command, which --help does not list. */
export function addWorker(program: Command): void {
  program
    .command('worker', { hidden: true })
    .addArgument(runArgument())
    .addOption(deviceOption())
    .action((run, { device }) => {
      if (!isWorker()) {
        throw new RequestError('A worker is started by the run that it works for.', {
          hint: 'moe-disco run RECIPE',
        });
      }
      serve(run, device ?? 'cpu');
    });
}

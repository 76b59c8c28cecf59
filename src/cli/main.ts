#!/usr/bin/env node
/** The command `moe-disco`: parses, calls, and turns errors into text and exit status. */
import { CommanderError } from '@commander-js/extra-typings';
import colors from 'picocolors';
import { EXIT, isSystemError } from '../errors.js';
import { failureOf } from '../launch/failure.js';
import { makeProgram } from './program.js';

function fail(error: unknown): never {
  if (error instanceof CommanderError) {
    // Commander has written its message already. It calls asking for help an error, too.
    process.exit(error.exitCode === 0 ? EXIT.done : EXIT.request);
  }
  const { text, exitStatus } = failureOf(error);
  const label = exitStatus === EXIT.stopped ? '' : `${colors.red('Error:')} `;
  process.stderr.write(`${label}${text}\n`);
  process.exit(exitStatus);
}

process.on('uncaughtException', fail);
// Whoever reads our output may leave early (`| head`, a closed terminal): what is printed is lost, what is
// computed is not.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: unknown) => {
    if (!isSystemError(error) || !['EPIPE', 'EIO'].includes(error.code ?? '')) fail(error);
  });
}

makeProgram().parseAsync().catch(fail);

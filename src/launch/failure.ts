/** Errors at the top of a process: what is shown, the exit status, and which of several failures counts. */
import {
  DiscoError,
  describeError,
  EnvironmentError,
  EXIT,
  type ExitStatus,
  isSystemError,
} from '../errors.js';
import { systemFailure } from '../formats/system-failure.js';

/** What a process says and returns when it fails. */
export interface Failure {
  text: string;
  exitStatus: ExitStatus;
}

/**
 * The text and exit status of any error; one that nobody foresaw is called a bug and shows its stack. A full or
 * broken disk is one of the machine's failures wherever it was met.
 */
export function failureOf(thrown: unknown): Failure {
  const error = ofTheMachine(thrown) ?? thrown;
  if (error instanceof DiscoError) return { text: describeError(error), exitStatus: error.exitStatus };
  return {
    text: `This is a bug in moe-disco: an error that nobody foresaw. Please report it with these lines.\n${describeError(error)}`,
    exitStatus: EXIT.bug,
  };
}

function ofTheMachine(error: unknown): EnvironmentError | null {
  if (!isSystemError(error)) return null;
  const failure = systemFailure(error, error.path ?? 'a file', error.syscall === 'read' ? 'read' : 'write');
  return failure instanceof EnvironmentError ? failure : null;
}

/** A stage failed in a worker, which has described its error already. */
export class WorkerError extends DiscoError {
  constructor(stage: string, { text, exitStatus }: Failure) {
    super(exitStatus, 'worker', text.startsWith(stage) ? text : `${stage}: ${text}`);
  }
}

/** From what no repetition mends to what the next run simply continues. */
const WORST_FIRST: readonly ExitStatus[] = [
  EXIT.bug,
  EXIT.request,
  EXIT.diverged,
  EXIT.environment,
  EXIT.budget,
  EXIT.stopped,
  EXIT.done,
];

/**
 * The one failure of several that decides the exit status: a bug, else what must not be retried (2, 65), else
 * what may be retried elsewhere (74), else what is continued by the same command (76, 75).
 */
export function worst<T extends { exitStatus: ExitStatus }>(failures: readonly T[]): T | null {
  const rank = (failure: T) => WORST_FIRST.indexOf(failure.exitStatus);
  return failures.reduce<T | null>(
    (found, one) => (found === null || rank(one) < rank(found) ? one : found),
    null,
  );
}

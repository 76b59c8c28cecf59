/**
 * Errors and exit codes: the interface that schedulers and scripts rely on.
 *
 * Every error that a user can cause or must react to is a {@link DiscoError}; anything else that reaches the
 * top of the program is a bug and exits with 1.
 */

/** Exit codes of the command. See docs/exit-codes in the README of the command line. */
export const EXIT = {
  done: 0,
  bug: 1,
  request: 2,
  diverged: 65,
  environment: 74,
  stopped: 75,
  budget: 76,
} as const;

export type ExitStatus = (typeof EXIT)[keyof typeof EXIT];

/** What an error knows about its place and cause. Everything is optional but the message. */
export interface ErrorDetails {
  /** The file that is wrong. */
  file?: string;
  /** The key, tensor, line or field in it. */
  key?: string;
  expected?: string;
  found?: string;
  /** The next command or step that helps. */
  hint?: string;
  cause?: unknown;
}

/**
 * Base of all errors with a meaning for the user. `message` is one plain sentence; `file`, `key`, `expected`,
 * `found` and `hint` are added to it by {@link describeError}.
 */
export class DiscoError extends Error {
  readonly exitStatus: ExitStatus;
  readonly code: string;
  readonly file: string | undefined;
  readonly key: string | undefined;
  readonly expected: string | undefined;
  readonly found: string | undefined;
  readonly hint: string | undefined;

  constructor(exitStatus: ExitStatus, code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.exitStatus = exitStatus;
    this.code = code;
    this.file = details.file;
    this.key = details.key;
    this.expected = details.expected;
    this.found = details.found;
    this.hint = details.hint;
  }
}

/** The request is wrong (command line, recipe, folder asked for): exit 2, never retry. */
export class RequestError extends DiscoError {
  constructor(message: string, details?: ErrorDetails) {
    super(EXIT.request, 'request', message, details);
  }
}

/** A file or its content is wrong: exit 2, never retry. */
export class DataError extends DiscoError {
  constructor(message: string, details?: ErrorDetails) {
    super(EXIT.request, 'data', message, details);
  }
}

/** Training produced a value that is not finite: exit 65. The last good checkpoint stays. */
export class NumericError extends DiscoError {
  constructor(message: string, details?: ErrorDetails) {
    super(EXIT.diverged, 'numeric', message, details);
  }
}

/** Disk, memory or device failed: exit 74, retry elsewhere. */
export class EnvironmentError extends DiscoError {
  constructor(message: string, details?: ErrorDetails) {
    super(EXIT.environment, 'environment', message, details);
  }
}

/** The tensor engine refused or failed: exit 1 unless a caller knows better. */
export class EngineError extends DiscoError {
  constructor(message: string, details?: ErrorDetails) {
    super(EXIT.bug, 'engine', message, details);
  }
}

/** Work was stopped on request and saved, or somebody else is doing it: exit 75, run the same command again. */
export class StoppedError extends DiscoError {
  constructor(message: string, details?: ErrorDetails) {
    super(EXIT.stopped, 'stopped', message, details);
  }
}

/** A budget of the recipe was reached and the work saved: exit 76. */
export class BudgetError extends DiscoError {
  constructor(message: string, details?: ErrorDetails) {
    super(EXIT.budget, 'budget', message, details);
  }
}

/** The lines shown to a user: the sentence, then file, key, expected, found and hint where known. */
export function describeError(error: unknown): string {
  if (!(error instanceof DiscoError))
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  const lines = [error.message];
  if (error.file !== undefined) lines.push(`  file:     ${error.file}`);
  if (error.key !== undefined) lines.push(`  key:      ${error.key}`);
  if (error.expected !== undefined) lines.push(`  expected: ${error.expected}`);
  if (error.found !== undefined) lines.push(`  found:    ${error.found}`);
  if (error.hint !== undefined) lines.push(`  hint:     ${error.hint}`);
  return lines.join('\n');
}

/** Whether `error` is a Node system error such as ENOENT or ENOSPC. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).code === 'string';
}

/**
 * JSON lines of our own: metrics and ledgers. Appended by one system call per line, so that a killed process
 * leaves at most one torn line, the last, which readers drop and the next writer cuts off.
 */
import { closeSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { DataError, isSystemError } from '../errors.js';
import { writeFileAtomic } from './atomic.js';
import { systemFailure } from './system-failure.js';

const NEWLINE = 0x0a;

/** Appends lines to one file. Only the owner of the file's folder may have one open. */
export class JsonlWriter {
  readonly path: string;
  #descriptor: number | null;

  /** Opens for appending, made where missing; a torn last line of a killed writer is cut off first. */
  constructor(path: string) {
    this.path = path;
    try {
      mkdirSync(dirname(path), { recursive: true });
      this.#descriptor = openSync(path, 'a+', 0o644);
      const bytes = readFileSync(path);
      const whole = bytes.lastIndexOf(NEWLINE) + 1;
      if (whole < bytes.length) ftruncateSync(this.#descriptor, whole);
    } catch (error) {
      throw systemFailure(error, path, 'write');
    }
  }

  /** Appends one value as one line, by one write. */
  append(value: unknown): void {
    if (this.#descriptor === null) throw new Error(`${this.path} is closed`);
    const line = Buffer.from(`${JSON.stringify(value)}\n`, 'utf8');
    try {
      const written = writeSync(this.#descriptor, line);
      // A short write means a full disk; writing the rest says so.
      if (written < line.length) writeSync(this.#descriptor, line, written);
    } catch (error) {
      throw systemFailure(error, this.path, 'write');
    }
  }

  /** Makes what was appended durable: call it before a checkpoint that relies on it. */
  sync(): void {
    if (this.#descriptor === null) return;
    try {
      fsyncSync(this.#descriptor);
    } catch (error) {
      throw systemFailure(error, this.path, 'write');
    }
  }

  close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
  }
}

/**
 * All whole lines of a file, parsed; none when the file is missing. A torn last line is dropped.
 * @throws DataError naming the line when one in the middle is broken.
 */
export function readJsonl(path: string): unknown[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return [];
    throw systemFailure(error, path, 'read');
  }
  const whole = bytes.subarray(0, bytes.lastIndexOf(NEWLINE) + 1).toString('utf8');
  return whole
    .split('\n')
    .slice(0, -1)
    .map((line, index) => {
      try {
        return JSON.parse(line);
      } catch (error) {
        throw new DataError(`Line ${index + 1} of ${path} is not JSON.`, {
          file: path,
          key: `line ${index + 1}`,
          found: line.slice(0, 80),
          hint: `bring the file back, or remove the folder ${dirname(path)} to make this stage anew`,
          cause: error,
        });
      }
    });
}

/**
 * Cuts a file at its first line for which `keep` is false, that line and all after it, in one atomic
 * replacement: how a resumed training drops the metrics of steps it will repeat. Lines are numbered from 1.
 * @returns the number of lines cut.
 */
export function truncateJsonlAfter(path: string, keep: (entry: unknown, line: number) => boolean): number {
  const entries = readJsonl(path);
  const end = entries.findIndex((entry, index) => !keep(entry, index + 1));
  if (end < 0) return 0;
  writeFileAtomic(
    path,
    entries
      .slice(0, end)
      .map((entry) => `${JSON.stringify(entry)}\n`)
      .join(''),
  );
  return entries.length - end;
}

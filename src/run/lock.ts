/**
 * The lock of a stage folder. It works on local and network file systems, needs no clock that agrees with
 * another, and never has two owners.
 *
 * The lock is a series of files `lock-1.json`, `lock-2.json`, ...; the number is the attempt, and the highest one
 * that exists says who owns the folder. Taking the lock, from nobody or from a dead owner, is always the same
 * act: creating the next number, which the file system lets exactly one process do. No number is ever used
 * twice, and releasing only marks one's own file, so no late act of an old owner can touch a newer one.
 */

import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  fsync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { isSystemError, StoppedError } from '../errors.js';
import { temporaryPath } from '../formats/atomic.js';
import { systemFailure } from '../formats/system-failure.js';
import { isAlive, thisProcess } from './process-identity.js';
import { checkFormat, FORMAT } from './versioned.js';

const LOCK_FILE = /^lock-(\d+)\.json$/;

const holderSchema = z.looseObject({
  format: z.literal(FORMAT),
  attempt: z.int().positive(),
  host: z.string(),
  machine: z.string(),
  pid: z.int(),
  started: z.string(),
  token: z.string(),
  /** Wall-clock time of the owner, for people. */
  since: z.string(),
  released: z.boolean(),
});

/** Who holds a lock. */
export type LockHolder = z.output<typeof holderSchema>;

export interface LockTimes {
  /** Milliseconds between renewals. */
  renewEvery: number;
  /** Milliseconds without renewal after which an owner on another machine counts as dead. */
  staleAfter: number;
}

const TIMES: LockTimes = { renewEvery: 5_000, staleAfter: 120_000 };

/** One line of JSON, as long for a released lock as for a held one. */
function lockText(holder: LockHolder): string {
  return `${JSON.stringify(holder)}${holder.released ? ' ' : ''}\n`;
}

function lockPath(folder: string, attempt: number): string {
  return join(folder, `lock-${attempt}.json`);
}

/** Number of the newest attempt on a folder, 0 when there was none or the folder does not exist. */
function latestAttempt(folder: string): number {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return 0;
    throw systemFailure(error, folder, 'read');
  }
  return names.reduce((latest, name) => Math.max(latest, Number(LOCK_FILE.exec(name)?.[1] ?? 0)), 0);
}

/** A lock file's owner (null while it is being written or unreadable) and its last change on the file system's clock. */
function readLock(path: string): { holder: LockHolder | null; changed: number } | null {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, 'r');
    const changed = fstatSync(descriptor).mtimeMs;
    const value = ((): unknown => {
      try {
        return JSON.parse(readFileSync(descriptor, 'utf8'));
      } catch (error) {
        if (error instanceof SyntaxError) return null;
        throw error;
      }
    })();
    if (value !== null) checkFormat(path, value);
    const parsed = holderSchema.safeParse(value);
    return { holder: parsed.success ? parsed.data : null, changed };
  } catch (error) {
    if (isSystemError(error) && (error.code === 'ENOENT' || error.code === 'ESTALE')) return null;
    throw systemFailure(error, path, 'read');
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/**
 * The present time on the clock of the file system that holds `folder`: that of a file just written there. Null
 * when it cannot be written: then nobody's age can be told, and nobody's place taken.
 */
function fileSystemTime(folder: string): number | null {
  const path = temporaryPath(join(folder, 'clock'));
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, 'wx');
    writeSync(descriptor, 'now');
    fsyncSync(descriptor);
    return fstatSync(descriptor).mtimeMs;
  } catch (error) {
    if (isSystemError(error)) return null;
    throw error;
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
    rmSync(path, { force: true });
  }
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

/** Creates `path` with `content` if and only if it does not exist; false when it does. */
function createExclusively(path: string, content: string): boolean {
  const temporary = temporaryPath(path);
  try {
    writeFileSync(temporary, content, { flag: 'wx', flush: true });
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  try {
    linkSync(temporary, path);
    return true;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    // A network file system may repeat a request that had succeeded; the caller reads whose file it is.
    if (error.code === 'EEXIST') return readText(path) === content;
    // The owner, who came first, cleans up what looks like a dead attempt's.
    if (error.code === 'ENOENT') return false;
    if (!['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK'].includes(error.code ?? '')) throw error;
    // No hard links here. A reader may see the file empty for a moment and takes its owner for alive.
    try {
      writeFileSync(path, content, { flag: 'wx', flush: true });
      return true;
    } catch (second) {
      if (isSystemError(second) && second.code === 'EEXIST') return false;
      throw second;
    }
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** The living owner of a folder, or null: nobody, released, or dead. */
export function currentHolder(folder: string, times: Partial<LockTimes> = {}): LockHolder | 'unknown' | null {
  const attempt = latestAttempt(folder);
  if (attempt === 0) return null;
  const lock = readLock(lockPath(folder, attempt));
  if (lock === null) return currentHolder(folder, times); // replaced in between: look again
  if (lock.holder?.released) return null;
  const alive = lock.holder === null ? null : isAlive(lock.holder);
  if (alive === false) return null;
  const age = alive ? 0 : (fileSystemTime(folder) ?? lock.changed) - lock.changed;
  return age > (times.staleAfter ?? TIMES.staleAfter) ? null : (lock.holder ?? 'unknown');
}

function refuse(folder: string, holder: LockHolder | 'unknown'): never {
  const who =
    holder === 'unknown'
      ? 'another process'
      : `process ${holder.pid} on ${holder.host} since ${holder.since} (attempt ${holder.attempt})`;
  throw new StoppedError(`${folder} is in use by ${who}.`, {
    file: folder,
    found: who,
    hint: `wait for it or stop it; the lock of a process that died on another machine is taken over after ${TIMES.staleAfter / 1000} s`,
  });
}

/** A held lock. It renews itself until {@link release}, without keeping the process alive. */
export class FolderLock {
  readonly folder: string;
  readonly attempt: number;
  readonly #holder: LockHolder;
  readonly #descriptor: number;
  readonly #timer: NodeJS.Timeout;
  #held = true;

  private constructor(folder: string, holder: LockHolder, times: LockTimes) {
    this.folder = folder;
    this.attempt = holder.attempt;
    this.#holder = holder;
    this.#descriptor = openSync(lockPath(folder, holder.attempt), 'r+');
    this.#timer = setInterval(() => this.#renew(), times.renewEvery);
    this.#timer.unref();
  }

  /**
   * Takes the lock of a folder, which is made where it is missing. Does not wait.
   * @throws StoppedError naming the owner when a living process holds it.
   */
  static acquire(folder: string, times: Partial<LockTimes> = {}): FolderLock {
    try {
      mkdirSync(folder, { recursive: true });
      for (;;) {
        const latest = latestAttempt(folder);
        const holder = currentHolder(folder, times);
        if (holder !== null) refuse(folder, holder);
        const mine: LockHolder = {
          format: FORMAT,
          attempt: latest + 1,
          ...thisProcess(),
          token: randomBytes(16).toString('hex'),
          since: new Date().toISOString(),
          released: false,
        };
        if (!createExclusively(lockPath(folder, mine.attempt), lockText(mine))) continue;
        // The number was free because it was used up and cleaned away while we looked: somebody is ahead.
        if (latestAttempt(folder) !== mine.attempt) {
          rmSync(lockPath(folder, mine.attempt), { force: true });
          continue;
        }
        for (const name of readdirSync(folder)) {
          if (Number(LOCK_FILE.exec(name)?.[1] ?? mine.attempt) < mine.attempt)
            rmSync(join(folder, name), { force: true });
        }
        return new FolderLock(folder, mine, { ...TIMES, ...times });
      }
    } catch (error) {
      throw systemFailure(error, folder, 'write');
    }
  }

  /**
   * Reads the lock again. Call it right before anything becomes visible to others.
   * @throws StoppedError when another process has taken the folder over, or after {@link release}.
   */
  assertOwned(): void {
    const found = readLock(lockPath(this.folder, this.attempt));
    const latest = latestAttempt(this.folder);
    if (this.#held && latest === this.attempt && found?.holder?.token === this.#holder.token) return;
    const other = readLock(lockPath(this.folder, latest))?.holder;
    throw new StoppedError(
      `${this.folder} was taken over by another process; nothing more is written to it.`,
      {
        file: this.folder,
        expected: `attempt ${this.attempt}, process ${this.#holder.pid} on ${this.#holder.host}`,
        found: other
          ? `attempt ${other.attempt}, process ${other.pid} on ${other.host}`
          : `attempt ${latest}`,
      },
    );
  }

  /** Gives the lock back. Does nothing the second time. */
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    clearInterval(this.#timer);
    try {
      this.#write(true);
    } catch {
      // Nothing is lost: a lock whose owner has ended counts as free.
    } finally {
      closeSync(this.#descriptor);
    }
  }

  #renew(): void {
    try {
      this.#write(false);
      // Network file systems set the time when the data reaches them. Not waited for: a busy disk takes seconds.
      fsync(this.#descriptor, () => {});
    } catch {
      // A broken disk shows at the next write that matters, a lost lock in assertOwned.
    }
  }

  /**
   * Overwrites our own file in place with as many bytes: it needs no space, sets the file's time by the file
   * system's clock, and reaches nobody when the file was already replaced.
   */
  #write(released: boolean): void {
    writeSync(this.#descriptor, lockText({ ...this.#holder, released }), 0, 'utf8');
  }
}

/**
 * Files that appear whole or not at all: written under a temporary name in the same folder, hashed on the way,
 * synced, renamed, and the folder synced. What a killed process leaves behind is recognisable by name and
 * removed by {@link removeLeftovers} when its stage runs again.
 *
 * Writing is synchronous, so that tensors can be streamed from inside a `torch.scope`; only the final sync, which
 * can take seconds, is awaited.
 */
import { createHash, type Hash, randomBytes } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  fdatasync,
  fsync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { z } from 'zod';
import { DataError, isSystemError } from '../errors.js';
import type { FileRecord } from './hash.js';
import { findJsonFault } from './json-text.js';
import { systemFailure } from './system-failure.js';

const TEMPORARY = /^\..+\.tmp-\d+-[0-9a-f]{12}$/;

/** A name beside `path` for a file or folder in the making; {@link isTemporary} recognises it. */
export function temporaryPath(path: string): string {
  return join(dirname(path), `.${basename(path)}.tmp-${process.pid}-${randomBytes(6).toString('hex')}`);
}

/** Whether a file's name (without folder) is one of {@link temporaryPath}. */
export function isTemporary(name: string): boolean {
  return TEMPORARY.test(name);
}

/**
 * Removes everything that dead attempts left half-written in `folder` and below. Call it only while holding
 * the folder's lock.
 * @returns the removed paths.
 */
export function removeLeftovers(folder: string): string[] {
  const removed: string[] = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (isTemporary(entry.name)) {
      rmSync(path, { recursive: true, force: true });
      removed.push(path);
    } else if (entry.isDirectory()) {
      removed.push(...removeLeftovers(path));
    }
  }
  return removed;
}

/** Makes a rename in `folder` durable. Some file systems cannot sync a folder; there the rename alone counts. */
export function syncFolder(folder: string): void {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(folder, 'r');
    fsyncSync(descriptor);
  } catch (error) {
    if (isSystemError(error) && ['ENOSPC', 'EDQUOT', 'EIO'].includes(error.code ?? '')) {
      throw systemFailure(error, folder, 'write');
    }
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** How much of a file in the making is durable, as {@link AtomicFile.save} returns it. */
export interface SavedBeginning {
  size: number;
  sha256: string;
}

/** A larger file is written out from time to time. */
const FLUSH_BYTES = 1 << 27;

/** A file in the making. Nothing is seen under `path` before {@link commit}. */
export class AtomicFile {
  readonly path: string;
  /** Where its bytes lie until then. */
  readonly part: string;
  readonly #kept: boolean;
  readonly #hash: Hash;
  #descriptor: number | null;
  #size: number;
  /** Bytes whose writing out has been asked for, whether it is under way, and the error with which it failed. */
  #flushed = 0;
  #flushing = false;
  #flushError: Error | null = null;

  /**
   * Begins the file; its folder is made where it is missing.
   *
   * @param part a name that outlives this process, so that another one can {@link resume}; without it a name of
   * which {@link removeLeftovers} removes what a killed process leaves
   * @param beginning what stands in `part` already; for {@link resume}
   * @throws EnvironmentError (full disk, read-only), RequestError (a path that cannot be written).
   */
  constructor(path: string, part?: string, beginning?: { hash: Hash; size: number }) {
    this.path = path;
    this.part = part ?? temporaryPath(path);
    this.#kept = part !== undefined;
    this.#hash = beginning?.hash ?? createHash('sha256');
    this.#size = beginning?.size ?? 0;
    try {
      for (const folder of new Set([dirname(path), dirname(this.part)]))
        mkdirSync(folder, { recursive: true });
      this.#descriptor = openSync(this.part, beginning ? 'r+' : part === undefined ? 'wx' : 'w', 0o644);
      if (beginning) ftruncateSync(this.#descriptor, beginning.size);
    } catch (error) {
      throw systemFailure(error, path, 'write');
    }
  }

  /**
   * Goes on with a file whose beginning was saved; what was written behind it is cut off.
   *
   * @returns null where `part` does not begin as it was saved
   * @throws EnvironmentError where reading or writing fails
   */
  static async resume(path: string, part: string, saved: SavedBeginning): Promise<AtomicFile | null> {
    const hash = createHash('sha256');
    if ((statSync(part, { throwIfNoEntry: false })?.size ?? -1) < saved.size) return null;
    try {
      const stream = createReadStream(part, { highWaterMark: 1 << 20, end: Math.max(0, saved.size - 1) });
      if (saved.size > 0) for await (const chunk of stream) hash.update(chunk as Uint8Array);
      stream.destroy();
    } catch (error) {
      throw systemFailure(error, part, 'read');
    }
    if (hash.copy().digest('hex') !== saved.sha256) return null;
    return new AtomicFile(path, part, { hash, size: saved.size });
  }

  /** Bytes written so far. */
  get size(): number {
    return this.#size;
  }

  /** Appends bytes, or a string as UTF-8. The caller may reuse the buffer at once. */
  write(data: Uint8Array | string): void {
    const bytes = typeof data === 'string' ? Buffer.from(data, 'utf8') : data;
    const descriptor = this.#open();
    try {
      for (let done = 0; done < bytes.length; ) {
        // One system call moves at most 2^31 - 4096 bytes. The place is named: a process that has lost its lock and
        // wakes up then writes the same bytes where the new owner did.
        const length = Math.min(bytes.length - done, 1 << 28);
        done += writeSync(descriptor, bytes, done, length, this.#size + done);
      }
    } catch (error) {
      this.#fail();
      throw systemFailure(error, this.path, 'write');
    }
    this.#hash.update(bytes);
    this.#size += bytes.length;
    if (this.#size >= this.#flushed + FLUSH_BYTES) this.#flush(descriptor);
  }

  /**
   * Syncs and renames. `check` is called last before the rename and may refuse by throwing (the lock is no
   * longer ours); the file is dropped then.
   * @returns the file's base name, size and SHA-256.
   */
  async commit(check?: () => void): Promise<FileRecord> {
    const descriptor = this.#open();
    try {
      await promisify(fsync)(descriptor);
      // The system tells of a failure once; it may have told the earlier call.
      if (this.#flushError !== null) throw this.#flushError;
    } catch (error) {
      this.#fail();
      throw systemFailure(error, this.path, 'write');
    }
    return this.#publish(descriptor, check);
  }

  /** Makes what was written durable, and says what {@link resume} needs to go on behind it. */
  async save(): Promise<SavedBeginning> {
    try {
      await promisify(fsync)(this.#open());
      if (this.#flushError !== null) throw this.#flushError;
    } catch (error) {
      throw systemFailure(error, this.path, 'write');
    }
    return { size: this.#size, sha256: this.#hash.copy().digest('hex') };
  }

  /** {@link commit} for small files, without waiting for the event loop. */
  commitSync(check?: () => void): FileRecord {
    const descriptor = this.#open();
    try {
      fsyncSync(descriptor);
    } catch (error) {
      this.#fail();
      throw systemFailure(error, this.path, 'write');
    }
    return this.#publish(descriptor, check);
  }

  /** Drops the file. Does nothing after a commit. */
  abort(): void {
    if (this.#descriptor === null) return;
    this.leave();
    rmSync(this.part, { force: true });
  }

  /** Writes no more and leaves the part where it is, for {@link resume}. Does nothing after a commit. */
  leave(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
  }

  /** Has the disk work while the rest of a large file is made, so that little is left to wait for at the end. */
  #flush(descriptor: number): void {
    if (this.#flushing) return;
    this.#flushing = true;
    this.#flushed = this.#size;
    fdatasync(descriptor, (error) => {
      this.#flushing = false;
      if (this.#descriptor !== null) this.#flushError ??= error;
    });
  }

  /** A part with a name of its own may be worth going on with, or be somebody else's by now. */
  #fail(): void {
    if (this.#kept) this.leave();
    else this.abort();
  }

  #open(): number {
    if (this.#descriptor === null) throw new Error(`${this.path} was already committed or aborted`);
    return this.#descriptor;
  }

  #publish(descriptor: number, check?: () => void): FileRecord {
    try {
      check?.();
      renameSync(this.part, this.path);
    } catch (error) {
      this.#fail();
      throw systemFailure(error, this.path, 'write');
    }
    closeSync(descriptor);
    this.#descriptor = null;
    syncFolder(dirname(this.path));
    return { name: basename(this.path), size: this.#size, sha256: this.#hash.digest('hex') };
  }
}

/**
 * Writes a whole file through `body`, which is given the file to append to; nothing is left when it throws.
 * `check` as in {@link AtomicFile.commit}.
 */
export async function streamFileAtomic(
  path: string,
  body: (file: AtomicFile) => void | Promise<void>,
  check?: () => void,
): Promise<FileRecord> {
  const file = new AtomicFile(path);
  try {
    await body(file);
  } catch (error) {
    file.abort();
    throw error;
  }
  return file.commit(check);
}

/** Writes a small file whole; `check` as in {@link AtomicFile.commit}. */
export function writeFileAtomic(path: string, data: Uint8Array | string, check?: () => void): FileRecord {
  const file = new AtomicFile(path);
  file.write(data);
  return file.commitSync(check);
}

/** Writes a value as indented JSON, whole or not at all. */
export function writeJson(path: string, value: unknown, check?: () => void): FileRecord {
  return writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`, check);
}

/** JSON files are read whole: what is larger is none of the files that this program knows. */
const MAX_JSON_BYTES = 100_000_000;

/**
 * Reads a JSON file; with a schema, checks its shape too and returns the typed value. Files come from strangers: one
 * that is too large, too deep or names a key twice is refused.
 * @throws DataError naming file, key, expected and found.
 */
export function readJson(path: string): unknown;
export function readJson<T>(path: string, schema: z.ZodType<T>): T;
export function readJson<T>(path: string, schema?: z.ZodType<T>): unknown {
  let bytes: Buffer;
  try {
    const { size } = statSync(path);
    if (size > MAX_JSON_BYTES) {
      const [expected, found] = [`at most ${MAX_JSON_BYTES} bytes`, `${size} bytes`];
      throw new DataError(`The JSON file is too large: ${path}`, { file: path, expected, found });
    }
    bytes = readFileSync(path);
  } catch (error) {
    throw systemFailure(error, path, 'read');
  }
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (error) {
    const found = bytes.length === 0 ? 'an empty file' : (error as Error).message;
    throw new DataError(`Not a JSON file: ${path}`, {
      file: path,
      expected: 'JSON in UTF-8',
      found,
      cause: error,
    });
  }
  const fault = findJsonFault(text);
  if (fault !== null) throw new DataError(`${fault.message} in ${path}`, { file: path, key: fault.key });
  if (schema === undefined) return value;
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw new DataError(`Unexpected content in ${path}: ${issue.message}`, {
    file: path,
    key: issue.path.join('.') || '(top level)',
    ...('expected' in issue ? { expected: String(issue.expected) } : {}),
  });
}

/**
 * One file from the Hub into the cache. What arrived stays in `HASH.incomplete` when the connection or this process
 * breaks off, and the next attempt asks for the rest. A file is in the cache only with the hash that the Hub lists.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EnvironmentError, RequestError } from '../../errors.js';
import { freeBytes } from '../../formats/new-folder.js';
import { systemFailure } from '../../formats/system-failure.js';
import { withLock } from '../../setup/lock.js';
import type { HubFile, RepoCache } from './cache.js';
import { type Answer, discard, type HubClient, PassingFailure, passing } from './client.js';

/** A data set at one commit. */
export interface HubRepo {
  owner: string;
  name: string;
  commit: string;
}

/** Left free on the disk beside the file. */
const SPARE_BYTES = 2 ** 26;

/**
 * The path of a file in the cache; it is downloaded where it is not there.
 *
 * @throws RequestError where HF_HUB_OFFLINE is set and it is not there, or access is refused; EnvironmentError for a
 * full disk, a Hub that does not answer, or a file that twice arrives with another hash than listed; what
 * `between` of the client's options throws, leaving what has arrived.
 */
export async function fetchFile(
  client: HubClient,
  cache: RepoCache,
  repo: HubRepo,
  file: HubFile,
): Promise<string> {
  const there = cache.find(repo.commit, file);
  if (there !== null) return there;
  const blob = cache.blob(file);
  if (isWhole(blob, file)) return cache.link(repo.commit, file);
  if (client.settings.offline) {
    throw new RequestError('A file of the data set is not in the cache, and HF_HUB_OFFLINE is set.', {
      file: blob,
      key: `hf://datasets/${repo.owner}/${repo.name}@${repo.commit}/${file.path}`,
      hint: 'run once without HF_HUB_OFFLINE, or copy the cache of a machine that has it (HF_HOME)',
    });
  }
  try {
    for (const folder of [dirname(blob), cache.locks]) mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw systemFailure(error, cache.folder, 'write');
  }
  const wait = (): void =>
    client.options.say?.(`Waiting for another download of ${repo.owner}/${repo.name} ...`);
  return withLock(cache.locks, wait, async () => {
    if (!isWhole(blob, file)) await download(client, blob, repo, file);
    return cache.link(repo.commit, file);
  });
}

function isWhole(blob: string, file: HubFile): boolean {
  return statSync(blob, { throwIfNoEntry: false })?.size === file.size;
}

async function download(client: HubClient, blob: string, repo: HubRepo, file: HubFile): Promise<void> {
  const incomplete = `${blob}.incomplete`;
  const begun = statSync(incomplete, { throwIfNoEntry: false })?.size ?? 0;
  requireRoom(dirname(blob), file.size - Math.min(begun, file.size));
  const path = file.path.split('/').map(encodeURIComponent).join('/');
  const url = `${client.settings.endpoint}/datasets/${repo.owner}/${repo.name}/resolve/${repo.commit}/${path}`;
  for (let wrong = 0; ; ) {
    const part = await Part.open(incomplete, file);
    try {
      await client.retrying(
        url,
        async () => part.fill(client, url),
        () => part.size,
      );
      const found = part.digest();
      if (found === file.hash) {
        await part.finish(blob);
        return;
      }
      wrong++;
      rmSync(incomplete, { force: true });
      client.options.say?.(`${file.path} arrived damaged`);
      if (wrong === 2) throw damaged(url, file, found);
    } finally {
      await part.close();
    }
  }
}

function damaged(url: string, file: HubFile, found: string): EnvironmentError {
  return new EnvironmentError('A download has another hash than the Hub lists, twice.', {
    file: url,
    expected: file.hash,
    found,
    hint: 'a proxy may alter files; run it again, or through another network',
  });
}

/**
 * Refuses to begin with files of which the disk cannot hold those that are still to be downloaded.
 * @throws EnvironmentError naming what is needed and what is there
 */
export function refuseFullDisk(cache: RepoCache, commit: string, files: readonly HubFile[]): void {
  const missing = files.filter(
    (file) => cache.find(commit, file) === null && !isWhole(cache.blob(file), file),
  );
  requireRoom(
    cache.folder,
    missing.reduce((sum, { size }) => sum + size, 0),
  );
}

function requireRoom(folder: string, bytes: number): void {
  const free = freeBytes(folder);
  if (bytes === 0 || free >= bytes + SPARE_BYTES) return;
  throw new EnvironmentError('There is too little free disk for what is to be downloaded.', {
    file: folder,
    expected: `${((bytes + SPARE_BYTES) / 1e9).toFixed(2)} GB`,
    found: `${(free / 1e9).toFixed(2)} GB free`,
    hint: 'corpus.maxDocuments takes only the first documents; free some space, or set HF_HOME to a folder on a larger disk',
  });
}

/** The beginning of a file that is being downloaded. */
class Part {
  size = 0;
  #hash: Hash;

  private constructor(
    readonly path: string,
    readonly file: HubFile,
    readonly handle: FileHandle,
  ) {
    this.#hash = newHash(file);
  }

  /** What is there of a file, hashed; nothing of what is longer than the file. */
  static async open(path: string, file: HubFile): Promise<Part> {
    try {
      const part = new Part(path, file, await open(path, existsSync(path) ? 'r+' : 'w+'));
      const { size } = await part.handle.stat();
      if (size > file.size) await part.handle.truncate(0);
      else if (size > 0) {
        for await (const piece of createReadStream(path, { end: size - 1, highWaterMark: 2 ** 20 })) {
          part.#hash.update(piece as Buffer);
          part.size += (piece as Buffer).length;
        }
      }
      return part;
    } catch (error) {
      throw systemFailure(error, path, 'write');
    }
  }

  /** Asks for what is missing and appends it. */
  async fill(client: HubClient, url: string): Promise<void> {
    if (this.size === this.file.size) return;
    const range: Record<string, string> = this.size === 0 ? {} : { range: `bytes=${this.size}-` };
    const answer = await client.send(url, range, [416]);
    try {
      await this.#accept(answer);
    } catch (error) {
      discard(answer);
      throw error;
    }
    client.options.progress?.(this.file.path, this.size, this.file.size);
    try {
      for await (const piece of answer.body as AsyncIterable<Buffer>) {
        if (this.size + piece.length > this.file.size) {
          throw new PassingFailure(`more than the ${this.file.size} bytes of the file`);
        }
        await this.#append(piece);
        client.options.progress?.(this.file.path, this.size, this.file.size);
        client.options.between?.();
      }
    } catch (error) {
      discard(answer);
      throw passing(error);
    }
    if (this.size < this.file.size) throw new PassingFailure(`only ${this.size} of ${this.file.size} bytes`);
  }

  /** Looks whether an answer is what was asked for; begins anew where the server gives no ranges. */
  async #accept({ status, headers }: Answer): Promise<void> {
    const encoding = headers.get('content-encoding') ?? 'identity';
    if (encoding !== 'identity') throw new PassingFailure(`a body encoded as ${encoding}`);
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get('content-range') ?? '');
    if (status === 206) {
      const total = range?.[2] ?? '';
      if (Number(range?.[1]) === this.size && (total === '*' || Number(total) === this.file.size)) return;
      throw new PassingFailure(`the range ${headers.get('content-range')} instead of ${this.size}-`);
    }
    if (this.size > 0) await this.#restart();
    if (status === 416) throw new PassingFailure('the server has no such range');
    const length = headers.get('content-length');
    if (length !== null && Number(length) !== this.file.size) {
      const type = headers.get('content-type') ?? 'unknown';
      throw new PassingFailure(`${length} bytes of type ${type} instead of ${this.file.size}`);
    }
  }

  async #restart(): Promise<void> {
    await this.handle.truncate(0);
    this.size = 0;
    this.#hash = newHash(this.file);
  }

  async #append(piece: Buffer): Promise<void> {
    try {
      for (let done = 0; done < piece.length; ) {
        done += (await this.handle.write(piece, done, piece.length - done, this.size + done)).bytesWritten;
      }
    } catch (error) {
      throw systemFailure(error, this.path, 'write');
    }
    this.#hash.update(piece);
    this.size += piece.length;
  }

  /** The hash of what is there. */
  digest(): string {
    return this.#hash.copy().digest('hex');
  }

  /** Makes the whole file durable under its name. */
  async finish(blob: string): Promise<void> {
    try {
      await this.handle.sync();
      renameSync(this.path, blob);
    } catch (error) {
      throw systemFailure(error, blob, 'write');
    }
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

/** SHA-256 of the content, or git's SHA-1 of its size and the content, by the length of the hash. */
function newHash({ hash, size }: HubFile): Hash {
  return hash.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
}

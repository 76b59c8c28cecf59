/** The user's cache: where managed copies of libtorch and built addons lie, and how things get in there. */
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { EnvironmentError, isSystemError, RequestError } from '../errors.js';
import type { Facts } from './platform.js';

const TEMPORARY = '.tmp-';

/** The cache folder: DISCO_CACHE, else moe-disco in XDG_CACHE_HOME or ~/.cache. It need not exist yet. */
export function cacheFolder(facts: Pick<Facts, 'env' | 'home'>): string {
  const own = facts.env.DISCO_CACHE;
  if (own !== undefined && own !== '') {
    if (!isAbsolute(own)) throw new RequestError('DISCO_CACHE must be an absolute path.', { found: own });
    return own;
  }
  const xdg = facts.env.XDG_CACHE_HOME;
  // The XDG specification tells to ignore relative paths.
  const parent = xdg !== undefined && isAbsolute(xdg) ? xdg : join(facts.home, '.cache');
  return join(parent, 'moe-disco');
}

/**
 * Makes the folder `target` whole or not at all: `body` fills a temporary folder beside it, which is then
 * renamed. Whatever stood at `target` is replaced. The temporary folder goes when `body` throws.
 */
export async function makeFolder(target: string, body: (folder: string) => Promise<void>): Promise<void> {
  const folder = withEnvironment(`Cannot write into the cache ${dirname(target)}`, () => {
    mkdirSync(dirname(target), { recursive: true });
    return mkdtempSync(join(dirname(target), `${TEMPORARY}${basename(target)}-`));
  });
  try {
    await body(folder);
    rmSync(target, { recursive: true, force: true });
    renameSync(folder, target);
  } catch (error) {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    throw error;
  }
}

/** Removes what interrupted set-ups left behind and returns how many folders that were. Call it under the lock. */
export function removeLeftovers(cache: string): number {
  const left = readdirSync(cache).filter((name) => name.startsWith(TEMPORARY));
  for (const name of left) rmSync(join(cache, name), { recursive: true, force: true, maxRetries: 3 });
  return left.length;
}

/**
 * Refuses to begin what the disk cannot hold.
 * @throws EnvironmentError when less than `bytes` are free where `folder` is.
 */
export function requireFreeDisk(folder: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  if (free >= bytes) return;
  throw new EnvironmentError('There is too little free disk to install PyTorch.', {
    file: folder,
    expected: `${(bytes / 1e9).toFixed(0)} GB free`,
    found: `${(free / 1e9).toFixed(1)} GB`,
    hint: 'free some space, or set DISCO_CACHE to a folder on a larger disk',
  });
}

/** Runs `body`, turning a system error (ENOSPC, EACCES, ...) into an EnvironmentError that begins with `what`. */
export function withEnvironment<T>(what: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new EnvironmentError(`${what}: ${error.message}`, { cause: error });
  }
}

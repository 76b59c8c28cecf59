/**
 * A folder that appears whole or not at all: made beside its place under a temporary name, renamed when everything in
 * it is written and synced. A killed process leaves only the temporary one, whose name says what it is.
 */
import { existsSync, lstatSync, mkdirSync, readdirSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { EnvironmentError, isSystemError, RequestError } from '../errors.js';
import { isTemporary, syncFolder, temporaryPath } from './atomic.js';
import { systemFailure } from './system-failure.js';

/** The folder itself, or the nearest one above it that is there. */
function nearest(folder: string): string {
  return existsSync(folder) || dirname(folder) === folder ? folder : nearest(dirname(folder));
}

/**
 * Bytes free on the disk of a folder, which need not be there.
 * @throws as {@link systemFailure}
 */
export function freeBytes(folder: string): number {
  const place = nearest(folder);
  try {
    const { bavail, bsize } = statfsSync(place);
    return bavail * bsize;
  } catch (error) {
    throw systemFailure(error, place, 'read');
  }
}

/** @throws RequestError when there is something at `folder` other than an empty folder */
export function refuseOccupied(folder: string): void {
  let entries: string[];
  try {
    if (lstatSync(folder, { throwIfNoEntry: false }) === undefined) return;
    entries = readdirSync(folder);
  } catch (error) {
    throw systemFailure(error, folder, 'write');
  }
  if (entries.length === 0) return;
  throw new RequestError(`${folder} is there already, and not empty.`, {
    file: folder,
    expected: 'a folder that does not exist, or is empty',
    found: entries.length === 1 ? entries[0]! : `${entries[0]} and ${entries.length - 1} more`,
    hint: 'name another folder with --into, or delete this one',
  });
}

/** What interrupted attempts at `folder` have left beside it. */
function leftoversOf(folder: string): string[] {
  const path = resolve(folder);
  if (!existsSync(dirname(path))) return [];
  const begin = temporaryPath(path).replace(/\.tmp-.*$/, '.tmp-');
  return readdirSync(dirname(path))
    .filter((name) => isTemporary(name) && join(dirname(path), name).startsWith(begin))
    .map((name) => join(dirname(path), name));
}

/**
 * Makes a folder through `body`, which is given the path to write into; nothing appears when it throws.
 *
 * @param folder where it shall be: not there yet, or empty
 * @param bytes how much will be written, about
 * @param say told of what killed attempts have left, which whoever is alone here may delete
 * @throws RequestError where something is there; EnvironmentError where the disk has no room for `bytes`
 */
export async function makeFolder<T>(
  folder: string,
  bytes: number,
  body: (making: string) => Promise<T>,
  say: (text: string) => void = () => {},
): Promise<T> {
  const path = resolve(folder);
  refuseOccupied(path);
  for (const left of leftoversOf(path)) {
    say(
      `${left} was left by an attempt that was killed, or is being written now; it is no model and can be deleted.`,
    );
  }
  const free = freeBytes(path);
  if (free < bytes) {
    const size = (count: number) => `${(count / 1e9).toFixed(count < 1e9 ? 3 : 1)} GB`;
    throw new EnvironmentError(`There is too little free disk for ${folder}.`, {
      file: path,
      expected: `about ${size(bytes)}`,
      found: `${size(free)} free`,
      hint: 'free some space, or name a folder on another disk with --into',
    });
  }
  const making = temporaryPath(path);
  try {
    mkdirSync(making, { recursive: true });
    const result = await body(making);
    renameSync(making, path);
    syncFolder(dirname(path));
    return result;
  } catch (error) {
    if (isSystemError(error) && ['EBUSY', 'ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes(error.code ?? '')) {
      throw new RequestError(`${folder} cannot be replaced by the finished folder.`, {
        file: path,
        expected: 'a folder that does not exist, or is empty and no mount point',
        found: error.code ?? '',
        hint: 'name a folder that does not exist with --into',
        cause: error,
      });
    }
    throw systemFailure(error, path, 'write');
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
}

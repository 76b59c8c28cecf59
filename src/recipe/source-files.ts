/** The files that a path of a source names on this machine: one file, a folder of them, or a pattern. */
import { lstatSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '../errors.js';
import { globMatcher, globRoot, isGlob } from '../formats/glob.js';
import { systemFailure } from '../formats/system-failure.js';
import { isHubPath } from './hub-path.js';
import type { Source } from './schema.js';

/** Byte by byte, so that the order is the same on every machine. */
export function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/**
 * The files of one absolute path, sorted byte by byte. A name that exists is taken as it stands, also where it
 * looks like a pattern. Below a folder, hidden files and folders are left out and links are followed. A file
 * that is not there is listed: whoever reads it says so.
 *
 * @throws DataError where a folder or pattern has no file, or links of folders go round in a circle.
 */
export function localFiles(path: string): string[] {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isDirectory()) return required(filesBelow(path, Number.POSITIVE_INFINITY), path);
  if (stats !== undefined || !isGlob(path)) return [path];
  const matches = globMatcher(path);
  const root = globRoot(path) || '/';
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory()) return required([], path);
  // Without `**` no match lies deeper than the pattern is long.
  const depth = path.includes('**') ? Number.POSITIVE_INFINITY : path.slice(root.length).split('/').length;
  return required(
    filesBelow(root, depth).filter((file) => matches(file)),
    path,
  );
}

/** The files of a source that are on this machine; none of a path that has none. */
export function filesHere(source: Pick<Source, 'path'>): string[] {
  return [source.path].flat().flatMap((path) => {
    try {
      return isHubPath(path) ? [] : localFiles(path);
    } catch (error) {
      if (error instanceof DataError) return [];
      throw error;
    }
  });
}

function required(files: string[], path: string): string[] {
  if (files.length > 0) return files.sort(byBytes);
  throw new DataError('There is no file to read here.', {
    file: path,
    expected: isGlob(path) ? 'a file that matches the pattern' : 'a file in the folder',
    hint: 'files whose names begin with a dot are left out',
  });
}

function filesBelow(folder: string, depth: number, above: readonly string[] = []): string[] {
  if (depth === 0) return [];
  try {
    const real = realpathSync(folder);
    if (above.includes(real)) throw new DataError('Links of folders go round in a circle.', { file: folder });
    return readdirSync(folder).flatMap((name): string[] => {
      if (name.startsWith('.')) return [];
      const path = join(folder, name);
      // A link to nothing is listed, so that whoever reads it says so.
      const stats = statSync(path, { throwIfNoEntry: false }) ?? lstatSync(path);
      return stats.isDirectory() ? filesBelow(path, depth - 1, [...above, real]) : [path];
    });
  } catch (error) {
    throw systemFailure(error, folder, 'read');
  }
}

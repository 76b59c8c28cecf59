/**
 * What a source folder holds, as one hash: an input of the init stage. Files are read for it once; after that a file
 * of the same name, size and time counts as the same, and a folder that has been moved away as the one it was.
 */
import { existsSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { readJson } from '../formats/atomic.js';
import { hashFile, hashJson } from '../formats/hash.js';
import { openWeights } from '../formats/hf-folder.js';
import { systemFailure } from '../formats/system-failure.js';
import type { Recipe } from '../recipe/schema.js';
import { readDone } from '../run/done.js';
import { RunFolder } from '../run/folder.js';
import { sourceFolder } from './source.js';

const fileSchema = z.strictObject({
  name: z.string(),
  size: z.int().nonnegative(),
  /** Milliseconds of the epoch. */
  modified: z.number(),
  sha256: z.string(),
});

const identitySchema = z.strictObject({
  format: z.literal(1),
  /** Where the files lay. */
  folder: z.string(),
  files: z.array(fileSchema),
});

/** Content of init/source.json: the parent of a model that does not start from scratch. */
export type SourceIdentity = z.output<typeof identitySchema>;

/** Name of the file in init/ that holds a {@link SourceIdentity}. */
export const IDENTITY_FILE = 'source.json';

/** The hash of what a source folder held, wherever it lay. */
export function identityHash({ files }: SourceIdentity): string {
  return hashJson(files.map(({ name, sha256 }) => [name, sha256]));
}

/**
 * Identifies the folder that a recipe starts from.
 * @throws RequestError where the folder is not there and no finished init stage of the run, or of one that it was
 * forked from, knows what it held; DataError where it holds no model
 */
export async function identifySource(run: RunFolder, recipe: Recipe): Promise<SourceIdentity> {
  const before = finishedIdentity(run);
  const there = recipe.init.folder !== null && existsSync(recipe.init.folder);
  if (before !== null && !there) return before;
  const folder = sourceFolder(recipe);
  const weights = openWeights(folder);
  const names = ['config.json', ...weights.files.map((file) => basename(file))];
  weights.close();
  const known = [
    ...(before?.files ?? []).map((file) => ({ ...file, sameTime: true })),
    // A finished stage of another run has recorded what it wrote; later stages never read that again.
    ...(readDone(folder)?.outputs ?? []).map((file) => ({ ...file, modified: 0, sameTime: false })),
  ];
  const files: SourceIdentity['files'] = [];
  for (const name of names) {
    const { size, modified } = placeOf(join(folder, name));
    const same = known.find(
      (file) => file.name === name && file.size === size && (!file.sameTime || file.modified === modified),
    );
    const sha256 = same?.sha256 ?? (await hashFile(join(folder, name))).sha256;
    files.push({ name, size, modified, sha256 });
  }
  return { format: 1, folder, files };
}

function placeOf(file: string): { size: number; modified: number } {
  try {
    const { size, mtimeMs } = statSync(file);
    return { size, modified: mtimeMs };
  } catch (error) {
    throw systemFailure(error, file, 'read');
  }
}

/** What the finished init stage of this run, or of one that it was forked from, has recorded. */
function finishedIdentity(run: RunFolder): SourceIdentity | null {
  for (const root of [run.root, ...run.parents]) {
    const folder = new RunFolder(root).stageFolder('init');
    const file = join(folder, IDENTITY_FILE);
    if (readDone(folder) !== null && existsSync(file)) return readJson(file, identitySchema);
  }
  return null;
}

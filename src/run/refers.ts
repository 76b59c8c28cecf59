/** REFERS.json: a stage of a forked run that is another run's finished stage. */
import { existsSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { z } from 'zod';
import { DataError } from '../errors.js';
import { writeJson } from '../formats/atomic.js';
import { readDone } from './done.js';
import { FORMAT, readVersioned } from './versioned.js';

const refersSchema = z.looseObject({
  format: z.literal(FORMAT),
  stage: z.string(),
  /** The other stage's folder, relative to this one, so that runs can be moved together. */
  folder: z.string(),
  key: z.string(),
});

/** Makes `own`, a stage folder, refer to the finished stage in `other`. */
export function writeReference(own: string, stage: string, other: string, key: string): void {
  writeJson(join(own, 'REFERS.json'), { format: FORMAT, stage, folder: relative(own, other), key });
}

/**
 * The folder that a stage folder refers to, or null when it does not.
 * @throws DataError when that folder is no longer there, or no longer holds the result it was taken for.
 */
export function readReference(own: string): { folder: string; key: string } | null {
  const file = join(own, 'REFERS.json');
  const reference = readVersioned(file, refersSchema);
  if (reference === null) return null;
  const folder = resolve(own, reference.folder);
  const hint = `remove ${file} to make the stage again in this run`;
  if (!existsSync(join(folder, 'DONE'))) {
    throw new DataError(`Stage ${reference.stage} refers to a run that is not there.`, {
      file,
      key: 'folder',
      found: folder,
      hint,
    });
  }
  const key = readDone(folder)!.key;
  if (key !== reference.key) {
    const message = `Stage ${reference.stage} refers to a result that has changed.`;
    throw new DataError(message, { file, key: 'key', expected: reference.key, found: key, hint });
  }
  return { folder, key };
}

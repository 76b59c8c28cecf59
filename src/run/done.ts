/**
 * DONE, the last file a stage writes: which inputs it had, what it made, and the key under which its result may be
 * used again.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { DataError, RequestError } from '../errors.js';
import { writeJson } from '../formats/atomic.js';
import { type FileRecord, hashFile, hashJson, type Json } from '../formats/hash.js';
import { differences } from './differences.js';
import { FORMAT, readVersioned } from './versioned.js';

const doneSchema = z.looseObject({
  format: z.literal(FORMAT),
  stage: z.string(),
  /** SHA-256 of the canonical JSON of {format, stage, reads, inputs}; see {@link stageKey}. */
  key: z.string(),
  /** The recipe values that the stage itself reads. */
  reads: z.json(),
  /** Name of an input -> hash of its content. */
  inputs: z.record(z.string(), z.string()),
  /** Files of the stage, by name relative to its folder. */
  outputs: z.array(z.object({ name: z.string(), size: z.int().nonnegative(), sha256: z.string() })),
  /** Name -> hash of content that later stages take as their inputs. */
  hashes: z.record(z.string(), z.string()),
  summary: z.json(),
  /** When the stage ended, ISO 8601. */
  finished: z.string(),
});

/** The content of a DONE file. */
export type Done = z.output<typeof doneSchema>;

/** What identifies a stage's result. How it is executed is no part of it. */
export interface StageIdentity {
  stage: string;
  reads: unknown;
  inputs: Record<string, string>;
}

/** The key of a stage: SHA-256 of the canonical JSON of format, stage, recipe values read and input hashes. */
export function stageKey({ stage, reads, inputs }: StageIdentity): string {
  return hashJson({ format: FORMAT, stage, reads: reads ?? null, inputs });
}

/**
 * A stage folder's DONE, or null when the stage is not finished there.
 * @throws DataError for a newer format or damaged content.
 */
export function readDone(stageFolder: string): Done | null {
  return readVersioned(join(stageFolder, 'DONE'), doneSchema);
}

/**
 * A content hash that a finished stage has recorded.
 * @throws DataError where it recorded none of this name
 */
export function hashOf(done: Done, name: string): string {
  const hash = done.hashes[name];
  if (hash !== undefined) return hash;
  throw new DataError(`The DONE file of ${done.stage} is not as this program writes it.`, {
    key: `hashes.${name}`,
    expected: 'a hash',
    found: 'nothing',
  });
}

/** Writes DONE; `check` is called last before it appears. */
export function writeDone(stageFolder: string, done: Done, check: () => void): void {
  writeJson(join(stageFolder, 'DONE'), done, check);
}

/**
 * Names, sizes and hashes of a stage's outputs. A name alone is read and hashed; a record whose hash was taken
 * while writing is only compared with the file's size.
 * @throws DataError when a file is missing or has another size.
 */
export async function recordOutputs(
  folder: string,
  outputs: readonly (string | FileRecord)[],
): Promise<FileRecord[]> {
  const records: FileRecord[] = [];
  for (const output of outputs) {
    const name = typeof output === 'string' ? output : output.name;
    const file = join(folder, name);
    if (typeof output === 'string') {
      records.push({ name, ...(await hashFile(file)) });
      continue;
    }
    const size = statSync(file, { throwIfNoEntry: false })?.size;
    if (size !== output.size) {
      throw new DataError(`${file} is not as it was written.`, {
        file,
        expected: `${output.size} bytes`,
        found: size === undefined ? 'no file' : `${size} bytes`,
      });
    }
    records.push({ name, size, sha256: output.sha256 });
  }
  return records;
}

/**
 * Refuses to use or overwrite a result that was made from something else.
 * @param made what the folder says it was made from
 * @param wanted what is asked for now
 * @param file the file that says it
 * @throws RequestError naming every recipe key and input that differs.
 */
export function refuseOtherKey(file: string, made: StageIdentity, wanted: StageIdentity): never {
  const list = [
    ...differences(made.reads, wanted.reads),
    ...differences(made.inputs, wanted.inputs).map((entry) => ({ ...entry, key: `input ${entry.key}` })),
  ];
  const lines = list.slice(0, 8).map(({ key, before, after }) => `  ${key}: ${before} there, ${after} now`);
  if (list.length > 8) lines.push(`  and ${list.length - 8} more`);
  const first = list[0];
  throw new RequestError(
    [`Stage ${wanted.stage} of this run was made from something else:`, ...lines].join('\n'),
    {
      file,
      ...(first ? { key: first.key, expected: first.before, found: first.after } : {}),
      hint: 'moe-disco fork RUN NEW makes a run that keeps every stage which is still valid; nothing is lost',
    },
  );
}

/** Content of DONE for a finished stage. */
export function makeDone(
  identity: StageIdentity,
  outputs: FileRecord[],
  hashes: Record<string, string>,
  summary: Json,
): Done {
  return {
    format: FORMAT,
    stage: identity.stage,
    key: stageKey(identity),
    reads: (identity.reads ?? null) as Json,
    inputs: identity.inputs,
    outputs,
    hashes,
    summary,
    finished: new Date().toISOString(),
  };
}

/**
 * Checkpoints of a training: weights and both moments in one safetensors file, and beside it a small JSON file
 * with the step, the counters and the file's checksum. The JSON file is written last, so a checkpoint without it
 * does not exist; the two newest are kept, and a damaged one is passed over.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { EnvironmentError } from '../errors.js';
import { readJson, writeJson } from '../formats/atomic.js';
import { hashFile } from '../formats/hash.js';
import { SafetensorsReader, writeSafetensors } from '../formats/safetensors.js';
import type { Kind, ParameterStore } from '../model/store.js';
import { loadTensors, tensorSources } from '../model/store-files.js';
import { refuseNewer } from '../run/versioned.js';

const FORMAT = 1;
const KEPT = 2;
const KINDS: readonly Kind[] = ['weights', 'firstMoments', 'secondMoments'];

const countersSchema = z.strictObject({
  /** Optimizer steps done. */
  step: z.int().nonnegative(),
  /** Tokens trained on, padding left out. */
  tokens: z.number().nonnegative(),
  /** Seconds of training steps that led here, without evaluation, checkpoints and lost work. */
  seconds: z.number().nonnegative(),
});

const checkpointSchema = countersSchema.extend({
  format: z.literal(FORMAT),
  file: z.string().regex(/^step-\d+\.safetensors$/),
  size: z.int().nonnegative(),
  sha256: z.string(),
});

/** How far a training has come. */
export type Counters = z.output<typeof countersSchema>;

const baseName = (step: number): string => `step-${String(step).padStart(8, '0')}`;

/** Numbers of the checkpoints that are there, newest first. */
function stepsIn(folder: string): number[] {
  if (!existsSync(folder)) return [];
  const steps = readdirSync(folder).flatMap((name) => /^step-(\d+)\.json$/.exec(name)?.[1] ?? []);
  return steps.map(Number).sort((a, b) => b - a);
}

/**
 * Writes a checkpoint and removes all but the two newest.
 *
 * @param check throws when the folder is no longer ours; called before anything becomes visible
 * @throws EnvironmentError when the disk is full; the older checkpoints stay
 */
export async function saveCheckpoint(
  folder: string,
  store: ParameterStore,
  counters: Counters,
  check: () => void,
): Promise<void> {
  const name = baseName(counters.step);
  const tensors = KINDS.flatMap((kind) => tensorSources(store, kind, `${kind}/`));
  const record = await writeSafetensors(join(folder, `${name}.safetensors`), tensors, { check });
  const { size, sha256 } = record;
  writeJson(
    join(folder, `${name}.json`),
    { format: FORMAT, ...counters, file: `${name}.safetensors`, size, sha256 },
    check,
  );
  for (const step of stepsIn(folder).slice(KEPT)) removeCheckpoint(folder, step);
}

function removeCheckpoint(folder: string, step: number): void {
  rmSync(join(folder, `${baseName(step)}.json`), { force: true });
  rmSync(join(folder, `${baseName(step)}.safetensors`), { force: true });
}

/** Removes all checkpoints: what they hold is in the finished model. */
export function removeCheckpoints(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

/**
 * Fills the store from the newest checkpoint that is whole.
 *
 * @param warn told of every checkpoint that is passed over, and why
 * @returns its counters, or null when there is none: the store is then unchanged, or must be filled anew when
 * `warn` was called
 * @throws DataError for a checkpoint of a newer format: the version that wrote it can go on from it; EnvironmentError
 * where the machine failed, which says nothing about the checkpoint
 */
export async function loadCheckpoint(
  folder: string,
  store: ParameterStore,
  warn: (text: string) => void,
): Promise<Counters | null> {
  for (const step of stepsIn(folder)) {
    const path = join(folder, `${baseName(step)}.json`);
    refuseNewerCheckpoint(path);
    try {
      const { step: steps, tokens, seconds, file, sha256 } = readJson(path, checkpointSchema);
      const found = await hashFile(join(folder, file));
      if (found.sha256 !== sha256)
        throw new Error(`${file} is damaged: its checksum is not the recorded one`);
      readStore(join(folder, file), store);
      store.step = steps;
      return { step: steps, tokens, seconds };
    } catch (error) {
      // A bad sector is damage; a full memory or a lost network disk is not, and another start may find it whole.
      if (error instanceof EnvironmentError && error.found !== 'EIO') throw error;
      warn(`Warning: checkpoint ${path} is passed over: ${(error as Error).message}`);
    }
  }
  return null;
}

/** What cannot even be read as JSON is damaged, which the caller finds. */
function refuseNewerCheckpoint(path: string): void {
  let content: unknown;
  try {
    content = readJson(path);
  } catch {
    return;
  }
  refuseNewer(path, content);
}

function readStore(path: string, store: ParameterStore): void {
  const file = SafetensorsReader.open(path);
  try {
    for (const kind of KINDS) loadTensors(store, file, path, { kind, prefix: `${kind}/` });
  } finally {
    file.close();
  }
}

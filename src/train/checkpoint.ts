/**
 * Checkpoints of a training: weights and both moments in one safetensors file, and beside it a small JSON file
 * with the step, the counters and the file's checksum. The JSON file is written last, so a checkpoint without it
 * does not exist; the two newest are kept, and a damaged one is passed over.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { DataError, EnvironmentError } from '../errors.js';
import { readJson, writeJson } from '../formats/atomic.js';
import { hashFile } from '../formats/hash.js';
import { SafetensorsReader, writeSafetensors } from '../formats/safetensors.js';
import type { Kind, ParameterStore } from '../model/store.js';
import { loadTensors, tensorSources } from '../model/store-files.js';
import { refuseNewer } from '../run/versioned.js';

const FORMAT = 1;
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
type Checkpoint = z.output<typeof checkpointSchema>;

const baseName = (step: number): string => `step-${String(step).padStart(8, '0')}`;

/** Steps of the checkpoints that are there, newest first. */
function stepsIn(folder: string): number[] {
  return namesIn(folder)
    .flatMap((name) => /^step-(\d+)\.json$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => b - a);
}

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/**
 * Writes a checkpoint and removes all others but the one before it.
 *
 * @param options `previous`: step of the checkpoint that this training went on from or wrote last, 0 where there is
 * none; `check` throws when the folder is no longer ours and is called before anything becomes visible
 * @throws EnvironmentError when the disk is full; the older checkpoints stay
 */
export async function saveCheckpoint(
  folder: string,
  store: ParameterStore,
  counters: Counters,
  { previous, check }: { previous: number; check: () => void },
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
  for (const step of stepsIn(folder))
    if (step !== counters.step && step !== previous) removeCheckpoint(folder, step);
}

/** The JSON file first: without it a checkpoint does not exist. */
function removeCheckpoint(folder: string, step: number): void {
  rmSync(join(folder, `${baseName(step)}.json`), { force: true });
  rmSync(join(folder, `${baseName(step)}.safetensors`), { force: true });
}

/** Removes tensors that a kill has left without their JSON file. */
function removeOrphans(folder: string): void {
  const names = namesIn(folder);
  for (const name of names) {
    const base = /^(step-\d+)\.safetensors$/.exec(name)?.[1];
    if (base !== undefined && !names.includes(`${base}.json`)) rmSync(join(folder, name), { force: true });
  }
}

/** Removes all checkpoints: what they hold is in the finished model. */
export function removeCheckpoints(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

/**
 * Fills the store from the newest checkpoint that is whole. The folder must be ours.
 *
 * @param warn told of every damaged checkpoint that is passed over, and why
 * @returns its counters, or null when there is none: the store is then unchanged
 * @throws DataError for a checkpoint of a newer format, from which the version that wrote it can go on, and for one of
 * another model; EnvironmentError where the machine failed, which says nothing about the checkpoint
 */
export async function loadCheckpoint(
  folder: string,
  store: ParameterStore,
  warn: (text: string) => void,
): Promise<Counters | null> {
  removeOrphans(folder);
  for (const step of stepsIn(folder)) {
    const path = join(folder, `${baseName(step)}.json`);
    refuseNewerCheckpoint(path);
    let checkpoint: Checkpoint;
    try {
      checkpoint = await readWhole(folder, step);
    } catch (error) {
      if (!isDamage(error)) throw error;
      warn(`Warning: checkpoint ${path} is damaged and passed over: ${error.message}`);
      continue;
    }
    readStore(join(folder, checkpoint.file), store);
    store.step = step;
    return { step, tokens: checkpoint.tokens, seconds: checkpoint.seconds };
  }
  return null;
}

/** A checkpoint's description, after its file was compared with it. @throws DataError where they do not fit */
async function readWhole(folder: string, step: number): Promise<Checkpoint> {
  const path = join(folder, `${baseName(step)}.json`);
  const checkpoint = readJson(path, checkpointSchema);
  if (checkpoint.step !== step || checkpoint.file !== `${baseName(step)}.safetensors`)
    throw new DataError('It describes another checkpoint.', { file: path, found: checkpoint.file });
  const file = join(folder, checkpoint.file);
  const { size, sha256 } = await hashFile(file);
  if (size === checkpoint.size && sha256 === checkpoint.sha256) return checkpoint;
  throw new DataError(`${checkpoint.file} is not as it was written.`, {
    file,
    expected: `${checkpoint.size} bytes, SHA-256 ${checkpoint.sha256}`,
    found: `${size} bytes, SHA-256 ${sha256}`,
  });
}

/** A bad sector is damage; a full memory or a lost network disk is not, and another start may find the file whole. */
function isDamage(error: unknown): error is DataError | EnvironmentError {
  return error instanceof DataError || (error instanceof EnvironmentError && error.found === 'EIO');
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

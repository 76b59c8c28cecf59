/**
 * The protocol every stage follows: look for a result under the same key, take the lock, run, record the
 * outputs, write DONE last. A stage that is DONE is not run again, here or in a run that this one was forked from.
 */
import { existsSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { StoppedError } from '../errors.js';
import { removeLeftovers } from '../formats/atomic.js';
import type { FileRecord, Json } from '../formats/hash.js';
import {
  type Done,
  makeDone,
  readDone,
  recordOutputs,
  refuseOtherKey,
  type StageIdentity,
  stageKey,
  writeDone,
} from './done.js';
import { RunFolder } from './folder.js';
import { LedgerWriter } from './ledger.js';
import { FolderLock } from './lock.js';
import {
  type AttemptRecord,
  executionChanges,
  type Manifest,
  programVersions,
  readManifest,
  writeManifest,
} from './manifest.js';
import { readReference, writeReference } from './refers.js';
import { testPoint } from './test-point.js';
import { FORMAT } from './versioned.js';
import { hasWork } from './work.js';

/** What is to be run, and everything its result depends on. */
export interface StageRequest extends StageIdentity {
  run: RunFolder;
  /** Folder name: `corpus`, `submodels/3`. */
  stage: string;
  /** Recipe values that this stage itself reads, as JSON; part of the key. */
  reads: unknown;
  /** Name -> hash of the content of an input; part of the key. */
  inputs: Record<string, string>;
  /** The command that runs the stage, for the manifest. */
  command: string;
  /** How it is executed (device, threads, microBatch, ...): recorded, never part of the key. */
  execution?: Record<string, Json>;
  /** Versions beside those of this package and of Node: torch. */
  versions?: Record<string, string>;
  seeds?: Record<string, number>;
  /** Told when the stage is taken over from another run, or goes on differently executed. */
  say?: (text: string) => void;
}

/** What the body of a stage is given. */
export interface StageContext {
  /** The stage's own folder, held under lock. */
  folder: string;
  /** Number of this attempt; the first is 1. */
  attempt: number;
  /** Whether an earlier attempt had begun with the same key: there may be checkpoints. */
  resumed: boolean;
  path(...parts: string[]): string;
  ledger: Pick<LedgerWriter, 'append'>;
  /** Throws StoppedError when the folder is no longer ours. Call it before a checkpoint becomes visible. */
  assertOwned(): void;
}

/** What the body of a stage returns. */
export interface StageResult {
  /** Files made, relative to the folder; by name (they are read and hashed) or with their hash. */
  outputs?: readonly (string | FileRecord)[];
  /** Named hashes of content, which later stages take as inputs. */
  hashes: Record<string, string>;
  summary?: Json;
}

/** Milliseconds between ledger entries that a stage makes without its body's help. */
const BILLING_INTERVAL = 30_000;

/** DONE of this stage where it lies, here or in a run referred to; refuses one with another key. */
function finished(own: string, request: StageRequest, key: string): Done | null {
  const done = readDone(own);
  if (done !== null) {
    if (done.key !== key) refuseOtherKey(join(own, 'DONE'), done, request);
    return done;
  }
  const reference = readReference(own);
  return reference?.key === key ? readDone(reference.folder) : null;
}

/** Looks for a finished stage under the same key in the runs that this one was forked from. */
function adopt(own: string, request: StageRequest, key: string): Done | null {
  for (const parent of request.run.parents) {
    const folder = new RunFolder(parent).stageFolder(request.stage);
    const done = readDone(folder);
    if (done?.key !== key) continue;
    writeReference(own, request.stage, folder, key);
    request.say?.(`${request.stage}: taken over from ${folder}`);
    return done;
  }
  // A reference that no longer fits is dropped; the result it named stays where it is.
  rmSync(join(own, 'REFERS.json'), { force: true });
  return null;
}

/** Begins the manifest of an attempt; refuses to go on where another recipe has left work behind. */
function beginManifest(
  own: string,
  request: StageRequest,
  key: string,
  attempt: number,
): { manifest: Manifest; resumed: boolean } {
  const program = programVersions();
  const record: AttemptRecord = {
    attempt,
    command: request.command,
    started: new Date().toISOString(),
    hostname: hostname(),
    pid: process.pid,
    versions: { ...program.versions, ...request.versions },
    revision: program.revision,
    execution: request.execution ?? {},
  };
  const before = readManifest(own);
  const work = hasWork(own);
  if (before !== null && before.key !== key && work)
    refuseOtherKey(join(own, 'manifest.json'), before, request);
  const resumed = before !== null && before.key === key && work;
  const last = before?.attempts.at(-1);
  const changes = resumed && last ? executionChanges(last, record) : [];
  if (changes.length > 0) {
    request.say?.(
      `${request.stage}: goes on with ${changes.join('; ')}. The result is valid but not bit-repeatable.`,
    );
  }
  const manifest: Manifest = {
    format: FORMAT,
    stage: request.stage,
    key,
    reads: (request.reads ?? null) as Json,
    inputs: request.inputs,
    seeds: request.seeds ?? {},
    repeatable: (resumed ? before.repeatable : true) && changes.length === 0,
    attempts: [...(before?.attempts ?? []), record],
  };
  writeManifest(own, manifest);
  return { manifest, resumed };
}

/**
 * Runs a stage, or returns its DONE when it has one under the same key.
 * @throws RequestError when the stage was made from another recipe or other inputs; StoppedError when another
 * process holds it or has taken it over; whatever `body` throws.
 */
export async function runStage(
  request: StageRequest,
  body: (context: StageContext) => Promise<StageResult>,
): Promise<Done> {
  const key = stageKey(request);
  const own = request.run.stage(request.stage).own;
  const before = finished(own, request, key);
  if (before !== null) return before;

  const lock = FolderLock.acquire(own);
  try {
    // Somebody may have finished it between our look and our lock.
    const meanwhile = finished(own, request, key) ?? adopt(own, request, key);
    if (meanwhile !== null) return meanwhile;
    removeLeftovers(own);
    const { manifest, resumed } = beginManifest(own, request, key, lock.attempt);
    return await attemptStage(request, body, lock, manifest, resumed);
  } finally {
    lock.release();
  }
}

async function attemptStage(
  request: StageRequest,
  body: (context: StageContext) => Promise<StageResult>,
  lock: FolderLock,
  manifest: Manifest,
  resumed: boolean,
): Promise<Done> {
  const { folder, attempt } = lock;
  const record = manifest.attempts.at(-1)!;
  const device = typeof request.execution?.device === 'string' ? request.execution.device : 'cpu';
  const ledger = new LedgerWriter(folder, { stage: request.stage, attempt, device });
  const assertOwned = () => lock.assertOwned();
  // What a kill may leave unbilled.
  const billing = setInterval(() => {
    try {
      assertOwned();
      ledger.append();
    } catch {
      // A lost lock or a full disk stops the stage where it next writes something that matters.
    }
  }, BILLING_INTERVAL);
  billing.unref();
  const end = (outcome: 'done' | 'stopped' | 'failed', error?: unknown) => {
    ledger.append();
    Object.assign(record, {
      ended: new Date().toISOString(),
      outcome,
      ...(error ? { error: String(error) } : {}),
    });
    writeManifest(folder, manifest);
  };
  try {
    const path = (...parts: string[]) => join(folder, ...parts);
    const result = await body({ folder, attempt, resumed, path, ledger, assertOwned });
    const outputs = await recordOutputs(folder, result.outputs ?? []);
    await testPoint(`before-done:${request.stage}`);
    assertOwned();
    end('done');
    const done = makeDone(request, outputs, result.hashes, result.summary ?? null);
    writeDone(folder, done, assertOwned);
    return done;
  } catch (error) {
    // A folder that is no longer ours, or a full disk, must not hide the error that matters.
    try {
      assertOwned();
      if (!existsSync(join(folder, 'DONE'))) end(error instanceof StoppedError ? 'stopped' : 'failed', error);
    } catch {}
    throw error;
  } finally {
    clearInterval(billing);
    ledger.close();
  }
}

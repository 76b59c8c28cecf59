/** The run's ledger, status and verification: views over the stages' own files. They change nothing. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { hashFile } from '../formats/hash.js';
import { readDone, stageKey } from './done.js';
import type { RunFolder } from './folder.js';
import { addTotals, type LedgerTotals, readLedger, sumLedger } from './ledger.js';
import { currentHolder, type LockHolder } from './lock.js';
import { readManifest } from './manifest.js';

/** What one stage has used, over all its attempts. */
export interface StageLedger {
  attempts: number;
  totals: LedgerTotals;
  /** The work was done in another run that this stage refers to. */
  referred: boolean;
}

/** Totals of every stage of a run and their sum, stages referred to included: the result has cost them too. */
export function runLedger(run: RunFolder): { stages: Record<string, StageLedger>; totals: LedgerTotals } {
  const stages: Record<string, StageLedger> = {};
  let totals: LedgerTotals = {};
  for (const name of run.stages()) {
    const { own, folder } = run.stage(name);
    const sum = sumLedger(readLedger(folder));
    stages[name] = { ...sum, referred: folder !== own };
    totals = addTotals(totals, sum.totals);
  }
  return { stages, totals };
}

/** How far a stage is. */
export interface StageStatus {
  stage: string;
  state: 'done' | 'running' | 'unfinished';
  attempts: number;
  finished: string | null;
  /** Who works on it, while it is running. */
  holder: LockHolder | null;
  /** The other run's folder, where the stage refers to one. */
  refersTo: string | null;
  /** False when an attempt went on differently executed. */
  repeatable: boolean;
}

/** The state of every stage that has begun, in the order of Algorithm 1. */
export function runStatus(run: RunFolder): StageStatus[] {
  return run.stages().map((stage) => {
    const { own, folder } = run.stage(stage);
    const done = readDone(folder);
    const manifest = readManifest(folder);
    const holder = done === null ? currentHolder(own) : null;
    return {
      stage,
      state: done !== null ? 'done' : holder !== null ? 'running' : 'unfinished',
      attempts: manifest?.attempts.length ?? 0,
      finished: done?.finished ?? null,
      holder: holder === 'unknown' ? null : holder,
      refersTo: folder === own ? null : folder,
      repeatable: manifest?.repeatable ?? true,
    };
  });
}

/** Something that is not as DONE says. */
export interface Fault {
  stage: string;
  file: string;
  problem: string;
  expected: string;
  found: string;
}

/** Reads every output of every finished stage again and compares it with DONE. No faults: an empty list. */
export async function verifyRun(run: RunFolder): Promise<Fault[]> {
  const faults: Fault[] = [];
  for (const stage of run.stages()) {
    const { folder } = run.stage(stage);
    const done = readDone(folder);
    if (done === null) continue;
    const fault = (file: string, problem: string, expected: string, found: string) =>
      faults.push({ stage, file, problem, expected, found });
    const key = stageKey(done);
    if (key !== done.key)
      fault(join(folder, 'DONE'), 'its key does not follow from its inputs', done.key, key);
    for (const output of done.outputs) {
      const file = join(folder, output.name);
      if (!existsSync(file)) {
        fault(file, 'missing', `${output.size} bytes`, 'no file');
        continue;
      }
      const { size, sha256 } = await hashFile(file);
      if (size !== output.size) fault(file, 'another size', `${output.size} bytes`, `${size} bytes`);
      else if (sha256 !== output.sha256) fault(file, 'another content', output.sha256, sha256);
    }
  }
  return faults;
}

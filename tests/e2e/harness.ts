/** Runs of the tiny recipe that are killed at chosen moments, and what is left of them. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readJsonl } from '../../src/formats/jsonl.js';
import { type Outcome, type Running, type SpawnOptions, start, until } from '../cli/spawn.js';
import { descendants, isAlive } from './processes.js';

/** When a run is killed, and who. */
export interface Kill {
  stage: string;
  /**
   * `begun`: when the stage holds its lock; a number: when its checkpoint of at least this step is there;
   * `before-done`: when its files have been renamed into place and DONE has not been written.
   */
  when: 'begun' | number | 'before-done';
  /** Milliseconds from that moment to the kill. */
  delay: number;
  victim: 'supervisor' | 'worker';
}

/** What was found right after a kill. */
export interface Killed extends Kill {
  outcome: Outcome;
  /** The stage had not ended. */
  inside: boolean;
  /** There was a checkpoint to continue from. */
  afterCheckpoint: boolean;
  /** Processes of the run that still lived when its supervisor had been gone for five seconds. */
  survivors: number[];
}

/** Files that a finished run's results are. */
const WEIGHTS = ['submodels/0', 'submodels/1', 'merged', 'finetuned', 'baseline'];

/** Starts the tiny recipe, or lets it go on. */
export function startTiny(folder: string, options: SpawnOptions = {}): Running {
  return start(['run', 'tiny', '--into', folder], options);
}

/** SHA-256 of the final weights of a run. */
export function weightsOf(folder: string): Record<string, string> {
  const hash = (stage: string) =>
    createHash('sha256')
      .update(readFileSync(join(folder, stage, 'model.safetensors')))
      .digest('hex');
  return Object.fromEntries(WEIGHTS.map((stage) => [stage, hash(stage)]));
}

/** What clocks say in a line of metrics: all else is the same in every run. */
const TIMES = ['seconds', 'tokensPerSecond', 'evaluationSeconds', 'dollars'];

/** The metrics of every training of a run, line by line, without times. */
export function metricsOf(folder: string): Record<string, unknown[]> {
  const lines = (stage: string) =>
    readJsonl(join(folder, stage, 'metrics.jsonl')).map((line) =>
      Object.fromEntries(Object.entries(line as object).filter(([key]) => !TIMES.includes(key))),
    );
  const trainings = WEIGHTS.filter((stage) => stage !== 'merged');
  return Object.fromEntries(trainings.map((stage) => [stage, lines(stage)]));
}

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** Step of the newest complete checkpoint of a stage, 0 where there is none. */
export function checkpointOf(folder: string, stage: string): number {
  const steps = namesIn(join(folder, stage, 'checkpoints')).map(
    (name) => /^step-(\d+)\.json$/.exec(name)?.[1] ?? 0,
  );
  return Math.max(0, ...steps.map(Number));
}

/** The process that works on a stage, from its newest lock; null when nobody does. */
export function workerOf(folder: string, stage: string, supervisor: number): number | null {
  const locks = namesIn(join(folder, stage)).filter((name) => /^lock-\d+\.json$/.test(name));
  const newest = locks
    .sort((a, b) => Number.parseInt(a.slice(5), 10) - Number.parseInt(b.slice(5), 10))
    .at(-1);
  if (newest === undefined) return null;
  const { pid } = JSON.parse(readFileSync(join(folder, stage, newest), 'utf8') || '{}') as { pid?: number };
  // A lock of an earlier, killed worker is still there while the new one starts.
  return descendants(supervisor).some((one) => one.pid === pid) ? pid! : null;
}

/** Starts or continues a run and kills it; returns when nothing of it lives any more. */
export async function killOnce(folder: string, kill: Kill): Promise<Killed> {
  const { stage, when, delay, victim } = kill;
  const mark = `${folder}.mark`;
  rmSync(mark, { force: true });
  const pause = { DISCO_TEST_PAUSE: `before-done:${stage}`, DISCO_TEST_PAUSE_MARK: mark };
  const running = startTiny(folder, { env: when === 'before-done' ? pause : {} });
  let ended = false;
  void running.outcome.then(() => {
    ended = true;
  });
  const reached = () => {
    if (ended) throw new Error(`the run ended before ${stage} could be killed:\n${running.stderr()}`);
    if (when === 'before-done') return existsSync(mark) && workerOf(folder, stage, running.pid);
    if (when === 'begun') return workerOf(folder, stage, running.pid);
    return checkpointOf(folder, stage) >= when && workerOf(folder, stage, running.pid);
  };
  const worker = await until(reached, `${stage} ${when} in ${folder}`, 1);
  if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay));
  const family = descendants(running.pid);
  process.kill(victim === 'supervisor' ? running.pid : worker, 'SIGKILL');
  const outcome = await running.outcome;
  const end = Date.now() + 5000;
  while (family.some(isAlive) && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
  return {
    ...kill,
    outcome,
    inside: !existsSync(join(folder, stage, 'DONE')),
    afterCheckpoint: checkpointOf(folder, stage) > 0,
    survivors: family.filter(isAlive).map(({ pid }) => pid),
  };
}

/** The environment of a process that computes, and how this program starts itself again as a worker. */
import { type ChildProcess, fork } from 'node:child_process';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Whether this process was started as a worker. */
export function isWorker(): boolean {
  return process.env.DISCO_WORKER === '1' && process.send !== undefined;
}

/**
 * Threads for each of `concurrent` processes: what the recipe says, else OMP_NUM_THREADS (a scheduler sets it),
 * else an equal share of the cores this process may use.
 */
export function threadsFor(recipe: number | null, concurrent: number): number {
  const fromEnvironment = Number(process.env.OMP_NUM_THREADS);
  if (recipe !== null) return recipe;
  if (Number.isInteger(fromEnvironment) && fromEnvironment > 0) return fromEnvironment;
  return Math.max(1, Math.floor(availableParallelism() / concurrent));
}

/**
 * Variables that libtorch's thread pool reads once, when it is loaded. Passive waiting: an idle thread that
 * spins takes a core from a neighbour.
 */
function computeEnvironment(threads: number): Record<string, string> {
  return { OMP_NUM_THREADS: String(threads), MKL_NUM_THREADS: String(threads), OMP_WAIT_POLICY: 'PASSIVE' };
}

/** Sets {@link computeEnvironment} for this process, before libtorch is loaded. */
export function prepareThisProcess(threads: number): void {
  Object.assign(process.env, computeEnvironment(threads));
}

/** The arguments of node itself under which a copy of this program runs: its own, and tsx for TypeScript. */
function nodeArguments(main: string): string[] {
  if (!main.endsWith('.ts')) return process.execArgv;
  if (process.execArgv.some((argument) => argument.includes('tsx'))) return process.execArgv;
  return ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href];
}

/** Starts this program as a worker, with an IPC channel. What it writes goes where this process writes. */
export function startWorker(args: readonly string[], threads: number): ChildProcess {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const main = fileURLToPath(new URL(`../cli/main.${extension}`, import.meta.url));
  return fork(main, args, {
    execArgv: nodeArguments(main),
    env: { ...process.env, ...computeEnvironment(threads), DISCO_WORKER: '1' },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
}

/** The environment of a process that computes, and how this program starts itself again as a worker. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { nodeArguments } from '../run/node-arguments.js';

/** Whether this process was started as a worker. */
export function isWorker(): boolean {
  return process.env.DISCO_WORKER === '1' && process.send !== undefined;
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

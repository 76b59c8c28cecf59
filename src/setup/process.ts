/** Running other programs: output collected, the end of this process told to those that would outlive it. */
import { spawn } from 'node:child_process';

export interface Finished {
  /** Exit status, or `null` when a signal ended it or it could not be started. */
  status: number | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Milliseconds after which the program is killed. */
  timeout?: number;
}

const MOST_OUTPUT = 1 << 20;

/**
 * Runs a program to its end and collects what it prints (the last MiB of each stream). Its standard input is a
 * pipe that closes when this process dies, however that happens. Never rejects: a program that cannot be
 * started has status `null` and the reason in `stderr`.
 */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.timeout === undefined ? {} : { timeout: options.timeout, killSignal: 'SIGKILL' as const }),
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout = (stdout + text).slice(-MOST_OUTPUT);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-MOST_OUTPUT);
    });
    // The pipe breaks when the program ends first; that is no error of ours.
    child.stdin.on('error', () => {});
    child.on('error', (error) => resolve({ status: null, stdout, stderr: stderr + error.message }));
    child.on('close', (status) => resolve({ status, stdout, stderr }));
  });
}

/** Where a step of set-up is announced, a line at a time. */
export type Say = (line: string) => void;

/** Announces a step, runs it, and announces its end with the seconds it took. */
export async function step<T>(say: Say, what: string, body: () => Promise<T>): Promise<T> {
  const start = performance.now();
  say(`${what} ...`);
  const result = await body();
  say(`  done in ${((performance.now() - start) / 1000).toFixed(1)} s`);
  return result;
}

/** Runs the real command: as built when the build is as new as the sources (`npm test` sees to that), else from these. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** What node is given to run the command. */
function command(): string[] {
  const built = statSync(join(ROOT, 'build', 'sources.json'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' });
  const newest = Math.max(...sources.map((name) => statSync(join(ROOT, 'src', name)).mtimeMs));
  if (built > newest) return [join(ROOT, 'dist', 'cli', 'main.js')];
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  return ['--import', tsx, join(ROOT, 'src', 'cli', 'main.ts')];
}

const COMMAND = command();

export interface Outcome {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface SpawnOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** What the command finds on its standard input; left out: nothing. */
  input?: string | Uint8Array;
}

/** A running command, what it has written so far, and its end. */
export interface Running {
  child: ChildProcess;
  pid: number;
  stderr(): string;
  outcome: Promise<Outcome>;
}

const READ = /^(DISCO_|SLURM_ARRAY_TASK_ID|JOB_COMPLETION_INDEX|SKYPILOT_JOB_RANK|OMP_)/;
const ENGINE = /^DISCO_(TORCH|TORCH_SOURCE|CACHE)$/;

/** Starts the command; variables of the surrounding machine that it reads are left out. */
export function start(args: readonly string[], { cwd, env = {}, input }: SpawnOptions = {}): Running {
  const outside = Object.entries(process.env).filter(([name]) => !READ.test(name) || ENGINE.test(name));
  const child = spawn(process.execPath, [...COMMAND, ...args], {
    cwd,
    env: { ...Object.fromEntries(outside), NO_COLOR: '1', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.on('error', () => {}).end(input ?? '');
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const outcome = new Promise<Outcome>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => resolve({ status, signal, stdout, stderr }));
  });
  return { child, pid: child.pid!, stderr: () => stderr, outcome };
}

/** Runs the command to its end. */
export function disco(args: readonly string[], options?: SpawnOptions): Promise<Outcome> {
  return start(args, options).outcome;
}

/** Waits until `condition` gives something other than null, undefined or false; looks every `every` milliseconds. */
export async function until<T>(
  condition: () => T | null | undefined | false,
  what: string,
  every = 10,
): Promise<T> {
  const end = Date.now() + 120_000;
  for (;;) {
    const value = condition();
    if (value !== null && value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}

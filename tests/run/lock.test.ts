import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DataError, StoppedError } from '../../src/errors.js';
import { currentHolder, FolderLock } from '../../src/run/lock.js';
import { isAlive, thisProcess } from '../../src/run/process-identity.js';

let folder: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lock-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
  rmSync(folder, { recursive: true });
});

/** Starts lock-process.ts; `line()` is its next line of output. */
function start(...args: string[]): { child: ChildProcess; line: () => Promise<string> } {
  const script = join(import.meta.dirname, 'lock-process.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return { child, line: async () => String((await lines.next()).value) };
}

function refusal(act: () => unknown): StoppedError {
  try {
    act();
  } catch (error) {
    if (error instanceof StoppedError) return error;
    throw error;
  }
  throw new Error('not refused');
}

/** A lock file as process 1 of another machine would have left it, last renewed so many seconds ago. */
function foreignLock(attempt: number, secondsAgo: number): string {
  const path = join(folder, `lock-${attempt}.json`);
  const since = new Date().toISOString();
  const holder = {
    host: 'elsewhere',
    machine: 'm',
    pid: 1,
    started: '5',
    token: 't',
    since,
    released: false,
  };
  writeFileSync(path, JSON.stringify({ format: 1, attempt, ...holder }));
  const time = Date.now() / 1000 - secondsAgo;
  utimesSync(path, time, time);
  return path;
}

describe('one process', () => {
  it('takes, holds and gives back; the attempt number grows; old files go', () => {
    const first = FolderLock.acquire(folder);
    first.assertOwned();
    expect(first.attempt).toBe(1);
    expect(currentHolder(folder)).toMatchObject({ pid: process.pid, attempt: 1 });
    const error = refusal(() => FolderLock.acquire(folder));
    expect(error.exitStatus).toBe(75);
    expect(error.message).toContain(`process ${process.pid} on ${thisProcess().host}`);
    first.release();
    first.release();
    expect(currentHolder(folder)).toBeNull();
    expect(refusal(() => first.assertOwned()).exitStatus).toBe(75);
    const second = FolderLock.acquire(folder);
    expect(second.attempt).toBe(2);
    expect(readdirSync(folder)).toEqual(['lock-2.json']);
    second.release();
  });

  it('an owner on another machine counts as dead only by the age of its renewal', () => {
    foreignLock(3, 100);
    expect(refusal(() => FolderLock.acquire(folder)).message).toContain('process 1 on elsewhere');
    foreignLock(3, 130);
    const lock = FolderLock.acquire(folder);
    expect(lock.attempt).toBe(4);
    lock.release();
  });

  it('age is measured on the clock of the file system, whatever ours says', () => {
    const path = foreignLock(1, 0);
    const real = Date.now;
    Date.now = () => real() + 3_600_000;
    try {
      expect(currentHolder(folder)).toMatchObject({ host: 'elsewhere' });
    } finally {
      Date.now = real;
    }
    expect(statSync(path).isFile()).toBe(true);
  });

  it('renews itself by the clock of the file system', async () => {
    const lock = FolderLock.acquire(folder, { renewEvery: 20 });
    const path = join(folder, 'lock-1.json');
    const content = readFileSync(path, 'utf8');
    utimesSync(path, 1, 1);
    await setTimeout(100);
    expect(Date.now() - statSync(path).mtimeMs).toBeLessThan(2000);
    expect(readFileSync(path, 'utf8')).toBe(content);
    lock.release();
  });

  it('an owner that was taken over is told before it publishes, and its release harms nobody', () => {
    const old = FolderLock.acquire(folder);
    foreignLock(2, 0);
    const error = refusal(() => old.assertOwned());
    expect(error.found).toContain('attempt 2, process 1 on elsewhere');
    rmSync(join(folder, 'lock-1.json'));
    old.release();
    expect(readdirSync(folder)).toEqual(['lock-2.json']);
    expect(currentHolder(folder)).toMatchObject({ host: 'elsewhere' });
  });

  it('a removed or foreign lock file is a lost lock', () => {
    const lock = FolderLock.acquire(folder);
    foreignLock(1, 0);
    expect(refusal(() => lock.assertOwned())).toBeInstanceOf(StoppedError);
    rmSync(join(folder, 'lock-1.json'));
    expect(refusal(() => lock.assertOwned())).toBeInstanceOf(StoppedError);
    lock.release();
  });

  it('a lock that is just being written is respected; one of a newer format refused', () => {
    writeFileSync(join(folder, 'lock-1.json'), '');
    expect(currentHolder(folder)).toBe('unknown');
    expect(refusal(() => FolderLock.acquire(folder)).message).toContain('another process');
    writeFileSync(join(folder, 'lock-1.json'), '{"format":2}');
    expect(() => FolderLock.acquire(folder)).toThrow(DataError);
  });

  it('knows the living from the dead and from those who reuse their number', () => {
    const me = thisProcess();
    expect(isAlive(me)).toBe(true);
    expect(isAlive({ ...me, started: `${me.started}0` })).toBe(false);
    expect(isAlive({ ...me, pid: 2 ** 22 + 1 })).toBe(false);
    expect(isAlive({ ...me, host: 'elsewhere' })).toBeNull();
    expect(isAlive({ ...me, machine: 'another boot' })).toBeNull();
  });
});

describe('several processes', () => {
  it('a second one is told who holds the lock; after kill -9 it takes over at once', async () => {
    const { child, line } = start('hold', folder);
    expect(await line()).toBe('held 1');
    const error = refusal(() => FolderLock.acquire(folder));
    expect(error.message).toContain(`process ${child.pid} on ${thisProcess().host}`);
    child.kill('SIGSTOP'); // not renewing, but alive: still the owner
    expect(refusal(() => FolderLock.acquire(folder, { staleAfter: 0 })).exitStatus).toBe(75);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const lock = FolderLock.acquire(folder);
    expect(lock.attempt).toBe(2);
    lock.release();
  });

  it('of many that want it at once exactly one gets it, free or left by a dead owner, and it never has two', async () => {
    const trials = 80;
    for (let trial = 0; trial < trials; trial += 1) {
      const path = join(folder, String(trial));
      mkdirSync(path);
      if (trial % 2 === 0) continue;
      const dead = { ...thisProcess(), pid: 2 ** 22 + 1, token: 'dead', since: '', released: false };
      writeFileSync(join(path, 'lock-7.json'), JSON.stringify({ format: 1, attempt: 7, ...dead }));
    }
    const processes = [0, 1, 2].map(() => start('contend', folder, String(trials), '100'));
    for (const { line } of processes) expect(await line()).toBe('ready');
    writeFileSync(join(folder, 'go'), '');
    type Result = { won: number[]; entered: number; overlaps: number };
    const results = await Promise.all(processes.map(async ({ line }) => JSON.parse(await line()) as Result));
    const won = results.flatMap((result) => result.won);
    expect(won.sort((a, b) => a - b)).toEqual(Array.from({ length: trials }, (_, trial) => trial));
    expect(results.filter((result) => result.won.length > 0).length).toBeGreaterThan(1);
    expect(results.map(({ overlaps }) => overlaps)).toEqual([0, 0, 0]);
    expect(results.reduce((sum, { entered }) => sum + entered, 0)).toBeGreaterThan(20);
  });
});

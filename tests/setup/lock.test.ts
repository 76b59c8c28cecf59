import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { withLock } from '../../src/setup/lock.js';
import { temporaryFolder } from './facts.js';

const host = hostname().replace(/[^A-Za-z0-9.-]/g, '_');
const startOf = (pid: number) =>
  readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[19] ?? '';

async function sleeper(): Promise<ChildProcess & { pid: number }> {
  const child = spawn('sleep', ['60']);
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child, 'spawn');
  return child as ChildProcess & { pid: number };
}

function lockFile(folder: string, owner: string, pid: number, start: string): string {
  const path = join(folder, `set-up_${owner}_${pid}_${start}.lock`);
  writeFileSync(path, '');
  return path;
}

it.runIf(process.platform === 'linux')(
  'waits for a live process, says so once, and goes on when it dies',
  async () => {
    const folder = temporaryFolder();
    const child = await sleeper();
    lockFile(folder, host, child.pid, startOf(child.pid));
    const said: string[] = [];
    let entered = false;
    const locked = withLock(
      folder,
      (line) => said.push(line),
      async () => {
        entered = true;
      },
    );
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(entered).toBe(false);
    child.kill('SIGKILL');
    await locked;
    expect(entered).toBe(true);
    expect(said).toEqual([`Waiting for another set-up (process ${child.pid} on ${host}) ...`]);
    expect(readdirSync(folder)).toEqual([]);
  },
);

it.runIf(process.platform === 'linux')('takes over from a number that another process has now', async () => {
  const folder = temporaryFolder();
  const child = await sleeper();
  lockFile(folder, host, child.pid, '1');
  const said: string[] = [];
  await withLock(
    folder,
    (line) => said.push(line),
    async () => {},
  );
  expect(said).toEqual([]);
});

it('takes over from another host that has been silent, not from one that has not', async () => {
  const folder = temporaryFolder();
  const path = lockFile(folder, 'elsewhere', 1, '1');
  const said: string[] = [];
  const locked = withLock(
    folder,
    (line) => said.push(line),
    async () => readdirSync(folder).length,
  );
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(said).toHaveLength(1);
  const old = new Date(Date.now() - 120_000);
  utimesSync(path, old, old);
  expect(await locked).toBe(1);
});

it('lets calls of one process take turns, also after one that failed', async () => {
  const folder = temporaryFolder();
  let inside = 0;
  let most = 0;
  const body = async () => {
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setTimeout(resolve, 20));
    inside--;
  };
  const failing = withLock(
    folder,
    () => {},
    async () => {
      throw new Error('failed');
    },
  );
  const calls = [body, body, body].map((call) => withLock(folder, () => {}, call));
  await expect(failing).rejects.toThrow('failed');
  await Promise.all(calls);
  expect(most).toBe(1);
  expect(readdirSync(folder)).toEqual([]);
});

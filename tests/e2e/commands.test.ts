/**
 * One tiny run by several commands: stopped gently, submodels trained apart by number, finished, finished again,
 * verified, forked.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { disco, start, until } from '../cli/spawn.js';
import { checkpointOf, startTiny, weightsOf, workerOf } from './harness.js';
import { descendants, hasLoaded, isAlive } from './processes.js';

const base = mkdtempSync(join(tmpdir(), 'disco-commands-'));
const folder = join(base, 'run');
const isDone = (stage: string) => existsSync(join(folder, stage, 'DONE'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

it('SIGTERM saves and exits 75; only the worker has loaded libtorch', async () => {
  const running = startTiny(folder);
  const worker = await until(
    () => checkpointOf(folder, 'submodels/0') >= 5 && workerOf(folder, 'submodels/0', running.pid),
    'a checkpoint of submodel 0',
    1,
  );
  const family = descendants(running.pid);
  expect(hasLoaded(worker, 'libtorch_cpu')).toBe(true);
  expect(hasLoaded(running.pid, 'libtorch')).toBe(false);
  process.kill(running.pid, 'SIGTERM');
  const { status, stderr } = await running.outcome;
  expect(status, stderr).toBe(75);
  expect(stderr).toMatch(/submodels\/0: stopped \(SIGTERM\) and saved after step \d+ of 20/);
  expect(family.filter(isAlive)).toEqual([]);
  expect(isDone('submodels/0')).toBe(false);
}, 300_000);

it('one process for each expert, numbered by the environment; a second one for the same k is refused', async () => {
  const mark = join(base, 'mark');
  const held = start(['train', folder, '--expert', '1'], {
    env: { DISCO_TEST_PAUSE: 'before-done:submodels/1', DISCO_TEST_PAUSE_MARK: mark, DISCO_EXPERT: '0' },
  });
  const zero = disco(['train', folder], { env: { DISCO_EXPERT: '0', SLURM_ARRAY_TASK_ID: '1' } });
  await until(() => existsSync(mark), 'submodel 1 before DONE');
  const second = await disco(['train', folder], { env: { SLURM_ARRAY_TASK_ID: '1' } });
  expect(second.status).toBe(75);
  expect(second.stderr).toContain(`in use by process ${held.pid} on`);
  process.kill(held.pid, 'SIGKILL');
  await held.outcome;
  const { status, stderr } = await zero;
  expect(status, stderr).toBe(0);
  expect(stderr).toMatch(/submodels\/0: continues after step \d+ of 20/);
  const wrong = await disco(['train', folder], { env: { JOB_COMPLETION_INDEX: '2' } });
  expect(wrong.status).toBe(2);
  expect(wrong.stderr).toContain('JOB_COMPLETION_INDEX');
  const again = await disco(['train', folder], { env: { SKYPILOT_JOB_RANK: '1' } });
  expect(again.status, again.stderr).toBe(0);
  expect([isDone('submodels/0'), isDone('submodels/1')]).toEqual([true, true]);
}, 300_000);

it('one stage in its own process, the rest of the run, and the finished run once more', async () => {
  const merge = await disco(['merge', folder]);
  expect(merge.status, merge.stderr).toBe(0);
  const first = await startTiny(folder).outcome;
  expect(first.status, first.stderr).toBe(0);
  expect(first.stderr).toContain('merged: was done already');
  const written = statSync(join(folder, 'finetuned', 'DONE')).mtimeMs;
  const before = weightsOf(folder);
  const second = await disco(['run', folder]);
  expect(second.status, second.stderr).toBe(0);
  expect(second.stdout).toBe(first.stdout);
  expect(second.stdout).toContain('full-parameter baseline');
  const places = [...second.stdout.matchAll(/ {2}(\S*run\/[\w./]+)/g)].map(([, path]) => path!);
  expect(places).toHaveLength(4);
  expect(places.filter((path) => !existsSync(path))).toEqual([]);
  expect(statSync(join(folder, 'finetuned', 'DONE')).mtimeMs).toBe(written);
  expect(weightsOf(folder)).toEqual(before);
}, 300_000);

it('another recipe is refused in this folder; a fork shares what does not depend on the change', async () => {
  const other = await disco(['run', 'tiny', 'merge.gamma=uniform', '--into', folder]);
  expect(other.status).toBe(2);
  expect(other.stderr).toMatch(/merge\.gamma[\s\S]*fork/);
  const into = join(base, 'fork');
  const fork = await disco(['fork', folder, into, 'merge.gamma=[1,0]']);
  expect(fork.status, fork.stderr).toBe(0);
  const run = await disco(['run', into]);
  expect(run.status, run.stderr).toBe(0);
  for (const stage of ['corpus', 'partition', 'init', 'submodels/0', 'submodels/1', 'baseline']) {
    expect(existsSync(join(into, stage, 'REFERS.json')), stage).toBe(true);
    expect(run.stderr).toContain(`${stage}: was done already`);
  }
  const merged = (run: string) => readFileSync(join(run, 'merged', 'model.safetensors'));
  expect(merged(into).equals(merged(folder))).toBe(false);
}, 300_000);

it('verify finds a changed byte', async () => {
  const good = await disco(['verify', folder]);
  expect(good.status, good.stderr).toBe(0);
  const file = join(folder, 'merged', 'model.safetensors');
  const bytes = readFileSync(file);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(file, bytes);
  const bad = await disco(['verify', folder]);
  expect(bad.status).toBe(2);
  expect(bad.stderr).toContain(`${file}: another content`);
}, 300_000);

/** The supervisor and real workers, on the first stage of the tiny recipe. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { lineReporter } from '../../src/launch/reporter.js';
import { makeRun } from '../../src/launch/run-recipe.js';
import { StopRequest } from '../../src/launch/stop.js';
import { inWorkers, type Workers } from '../../src/launch/supervisor.js';
import { start, until } from '../cli/spawn.js';

const base = mkdtempSync(join(tmpdir(), 'disco-launch-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A process that ended and was not yet waited for by init still has a number.
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** A run whose corpus stage can be held still, workers for it, and what they report. */
function make(
  name: string,
  devices = ['cpu'],
): { folder: string; workers: Workers; stop: StopRequest; text(): string } {
  const folder = join(base, name);
  makeRun({ recipe: 'tiny', into: folder }, () => {});
  let text = '';
  const reporter = lineReporter({ write: (part) => (text += part) });
  const stop = new StopRequest();
  const workers = inWorkers({ folder, devices, threads: 1, reporter, stop, graceSeconds: 0.2 });
  return { folder, workers, stop, text: () => text };
}

/** Starts `run tiny` and waits until the worker stands just before DONE of the corpus. */
async function heldRun(name: string) {
  const folder = join(base, name);
  const mark = join(base, `${name}.mark`);
  const env = { DISCO_TEST_PAUSE: 'before-done:corpus', DISCO_TEST_PAUSE_MARK: mark };
  const running = start(['run', 'tiny', '--into', folder], { env });
  const text = await until(() => existsSync(mark) && readFileSync(mark, 'utf8'), `pause of ${name}`);
  return { folder, running, worker: Number.parseInt(text, 10) };
}

describe.concurrent('workers', () => {
  it('do stages, are used again, and are gone at the end', async () => {
    const { folder, workers, text } = make('good');
    const first = await workers.run('corpus');
    const second = await workers.run('corpus');
    await workers.close();
    expect(first.stage).toBe('corpus');
    expect(second).toEqual(first);
    expect(existsSync(join(folder, 'corpus', 'DONE'))).toBe(true);
    const lines = text().split('\n');
    expect(lines[0]).toBe('corpus: reading the documents and turning them into tokens');
    expect(lines.find((line) => line.startsWith('corpus: done in'))).toBeDefined();
    expect(lines.at(-2)).toBe('corpus: was done already');
  });

  it('hand on errors with their exit status, let siblings finish, and the worst decides', async () => {
    const { workers, text } = make('bad', ['cpu', 'cpu']);
    const failed = workers.runAll(['corpus', 'no-such-stage', 'another']);
    await expect(failed).rejects.toMatchObject({
      exitStatus: 2,
      message: expect.stringContaining('no such stage'),
    });
    await workers.close();
    expect(text()).toContain('corpus: done in');
    expect(text()).toMatch(/no-such-stage: .*\n.*\n.*\n\(the other \d go on\)/);
  });

  it('refuse a stage after a request to stop', async () => {
    const { workers, stop } = make('stopped');
    stop.request('SIGTERM');
    await expect(workers.run('corpus')).rejects.toMatchObject({ exitStatus: 75 });
    await workers.close();
  });

  it('that are killed from outside end the run with 74', async () => {
    const { running, worker } = await heldRun('killed-worker');
    process.kill(worker, 'SIGKILL');
    const { status, stderr } = await running.outcome;
    expect(status).toBe(74);
    expect(stderr).toContain('corpus: its worker was ended by SIGKILL.');
    expect(stderr).toContain('the same command again continues');
  });

  it('end with a supervisor that is killed', async () => {
    const { folder, running, worker } = await heldRun('killed-supervisor');
    process.kill(running.pid, 'SIGKILL');
    await until(() => !isAlive(worker), 'end of the worker');
    expect(existsSync(join(folder, 'corpus', 'DONE'))).toBe(false);
  });

  it('that do not stop are ended when the user insists, and the status is 75', async () => {
    const { running, worker } = await heldRun('insist');
    process.kill(running.pid, 'SIGINT');
    await until(() => running.stderr().includes('SIGINT: saving and stopping'), 'the first SIGINT');
    expect(isAlive(worker)).toBe(true);
    process.kill(running.pid, 'SIGINT');
    const { status } = await running.outcome;
    expect(status).toBe(75);
    await until(() => !isAlive(worker), 'end of the worker');
  });
});

it('a worker that does not stop within the grace period is ended, and the run with 75', async () => {
  const mark = join(base, 'grace.mark');
  Object.assign(process.env, { DISCO_TEST_PAUSE: 'before-done:corpus', DISCO_TEST_PAUSE_MARK: mark });
  try {
    const { workers, stop, text } = make('grace');
    const work = workers.run('corpus').catch((error: unknown) => error);
    const worker = Number.parseInt(
      await until(() => existsSync(mark) && readFileSync(mark, 'utf8'), 'pause'),
      10,
    );
    stop.request('SIGTERM');
    expect(await work).toMatchObject({ exitStatus: 75 });
    await workers.close();
    expect(isAlive(worker)).toBe(false);
    expect(text()).toContain('A worker did not stop within 0.2 s and is ended.');
  } finally {
    delete process.env.DISCO_TEST_PAUSE;
    delete process.env.DISCO_TEST_PAUSE_MARK;
  }
});

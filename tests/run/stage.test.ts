import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RequestError, StoppedError } from '../../src/errors.js';
import { isTemporary, temporaryPath, writeFileAtomic } from '../../src/formats/atomic.js';
import { sha256 } from '../../src/formats/hash.js';
import { readDone, stageKey } from '../../src/run/done.js';
import { RunFolder } from '../../src/run/folder.js';
import { readLedger, sumLedger } from '../../src/run/ledger.js';
import { currentHolder, FolderLock } from '../../src/run/lock.js';
import { readManifest } from '../../src/run/manifest.js';
import { runStage, type StageContext, type StageRequest, type StageResult } from '../../src/run/stage.js';

let root: string;
let run: RunFolder;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'stage-'));
  run = RunFolder.create(join(root, 'run'), 'format: 1\nseed: 0\n');
});
afterEach(() => rmSync(root, { recursive: true }));

const request = (more: Partial<StageRequest> = {}): StageRequest => ({
  run,
  stage: 'corpus',
  reads: { seed: 0 },
  inputs: { text: 'abc' },
  command: 'disco corpus run',
  ...more,
});
const body = async ({ path }: StageContext): Promise<StageResult> => {
  writeFileAtomic(path('a.bin'), 'hello');
  return { outputs: ['a.bin'], hashes: { tokens: 't' }, summary: { documents: 3 } };
};
const never = (): Promise<StageResult> => Promise.reject(new Error('the stage was run again'));
const stop = (): Promise<StageResult> => Promise.reject(new StoppedError('stopped and saved'));

describe('DONE', () => {
  it('names inputs, outputs with hashes, and the key; the stage is not run again', async () => {
    const done = await runStage(request(), body);
    expect(done).toMatchObject({
      format: 1,
      stage: 'corpus',
      key: stageKey(request()),
      reads: { seed: 0 },
      inputs: { text: 'abc' },
      outputs: [{ name: 'a.bin', size: 5, sha256: sha256('hello') }],
      hashes: { tokens: 't' },
      summary: { documents: 3 },
    });
    expect(readDone(run.stageFolder('corpus'))).toEqual(done);
    expect(await runStage(request(), never)).toEqual(done);
    expect(currentHolder(run.path('corpus'))).toBeNull();
    expect(readManifest(run.path('corpus'))!.attempts).toHaveLength(1);
  });

  it('has a key of stage, recipe values and inputs, not of the execution', async () => {
    const key = stageKey(request());
    expect(stageKey({ inputs: { text: 'abc' }, stage: 'corpus', reads: { seed: 0 } })).toBe(key);
    expect(stageKey(request({ stage: 'init' }))).not.toBe(key);
    expect(stageKey(request({ reads: { seed: 1 } }))).not.toBe(key);
    expect(stageKey(request({ inputs: { text: 'abd' } }))).not.toBe(key);
    await runStage(request({ execution: { device: 'cpu', threads: 1 } }), body);
    await runStage(request({ execution: { device: 'cuda:0' } }), never);
  });

  it('of another recipe or other inputs is refused, naming each and the way out', async () => {
    await runStage(request(), body);
    const other = runStage(request({ reads: { seed: 1, unit: 'row' }, inputs: { text: 'xyz' } }), never);
    const error = await other.catch((e) => e);
    expect(error).toBeInstanceOf(RequestError);
    expect(error).toMatchObject({ key: 'seed', expected: '0', found: '1' });
    for (const part of [
      'seed: 0 there, 1 now',
      'unit: nothing there, "row" now',
      'input text: "abc" there, "xyz" now',
    ]) {
      expect(error.message).toContain(part);
    }
    expect(error.hint).toContain('disco fork');
  });

  it('takes hashes computed while writing, and notices a file of another size', async () => {
    const done = await runStage(request({ stage: 'init' }), async ({ path }) => {
      const record = writeFileAtomic(path('deep/w.bin'), 'weights');
      return { outputs: [{ ...record, name: 'deep/w.bin' }], hashes: {} };
    });
    expect(done.outputs).toEqual([{ name: 'deep/w.bin', size: 7, sha256: sha256('weights') }]);
    const wrong = runStage(request(), async ({ path }) => {
      const record = writeFileAtomic(path('w.bin'), 'weights');
      return { outputs: [{ ...record, size: 8 }], hashes: {} };
    });
    await expect(wrong).rejects.toThrow('not as it was written');
    await expect(runStage(request(), async () => ({ outputs: ['none'], hashes: {} }))).rejects.toThrow(
      'not found',
    );
    expect(readDone(run.path('corpus'))).toBeNull();
  });
});

describe('attempts', () => {
  it('a stopped stage goes on, knows it, and is done once', async () => {
    const stopped = runStage(request(), async ({ attempt, resumed, path }) => {
      expect([attempt, resumed]).toEqual([1, false]);
      writeFileAtomic(path('checkpoints/step-5'), '');
      return stop();
    });
    await expect(stopped).rejects.toThrow('stopped and saved');
    await runStage(request(), async (context) => {
      expect([context.attempt, context.resumed]).toEqual([2, true]);
      expect(context.folder).toBe(run.path('corpus'));
      return body(context);
    });
    expect(readManifest(run.path('corpus'))).toMatchObject({
      repeatable: true,
      attempts: [{ outcome: 'stopped', error: 'StoppedError: stopped and saved' }, { outcome: 'done' }],
    });
  });

  it('going on differently executed is said and marks the result', async () => {
    const said: string[] = [];
    const say = (text: string) => said.push(text);
    const partial = async ({ path }: StageContext) => {
      writeFileAtomic(path('checkpoints/step-5'), '');
      return stop();
    };
    const torch = { torch: '2.9.0' };
    await runStage(request({ say, execution: { threads: 2 }, versions: torch }), partial).catch(() => {});
    await runStage(request({ say, execution: { threads: 2 }, versions: torch }), partial).catch(() => {});
    expect(said).toEqual([]);
    await runStage(request({ say, execution: { threads: 4 }, versions: torch }), partial).catch(() => {});
    expect(said).toHaveLength(1);
    expect(said[0]).toContain('threads: 4, before 2');
    await runStage(request({ say, execution: { threads: 4 }, versions: torch }), body);
    expect(readManifest(run.path('corpus'))!.repeatable).toBe(false);
  });

  it('work left by another recipe is kept and refused; a folder without work is used', async () => {
    await runStage(request({ reads: { seed: 5 } }), stop).catch(() => {});
    await runStage(request({ reads: { seed: 6 } }), async ({ path }) => {
      writeFileAtomic(path('checkpoints/step-5'), 'precious');
      return stop();
    }).catch(() => {});
    const error = await runStage(request(), never).catch((e) => e);
    expect(error).toBeInstanceOf(RequestError);
    expect(error).toMatchObject({
      key: 'seed',
      expected: '6',
      found: '0',
      file: run.path('corpus', 'manifest.json'),
    });
    expect(readFileSync(run.path('corpus', 'checkpoints', 'step-5'), 'utf8')).toBe('precious');
    await runStage(request({ reads: { seed: 6 } }), body);
  });

  it('clears away what dead attempts left half-written', async () => {
    writeFileAtomic(run.path('corpus', 'x'), '');
    writeFileSync(temporaryPath(run.path('corpus', 'tokens.bin')), 'half');
    await runStage(request(), async (context) => {
      expect(readdirSync(context.folder).filter(isTemporary)).toEqual([]);
      return body(context);
    });
  });

  it('the ledger counts each attempt once, by its last running total', async () => {
    await runStage(request(), async ({ ledger, path }) => {
      for (const tokens of [100, 200, 300]) ledger.append({ tokens, seconds: tokens / 10 });
      writeFileAtomic(path('checkpoints/step-5'), '');
      return stop();
    }).catch(() => {});
    await runStage(request({ execution: { device: 'cuda:1' } }), async (context) => {
      context.ledger.append({ tokens: 50 });
      return body(context);
    });
    const entries = readLedger(run.path('corpus'));
    expect(entries.map(({ attempt }) => attempt)).toEqual([1, 1, 1, 1, 2, 2]);
    expect(entries.at(-1)).toMatchObject({ stage: 'corpus', device: 'cuda:1' });
    const sum = sumLedger(entries);
    expect(sum.attempts).toBe(2);
    expect(sum.totals.tokens).toBe(350);
    expect(sum.totals.seconds).toBeGreaterThan(30);
    expect(sum.totals.seconds).toBeLessThan(35);
  });
});

describe('the lock', () => {
  it('a stage that somebody else runs is refused with 75; its siblings are not', async () => {
    const lock = FolderLock.acquire(run.path('submodels/0'));
    const error = await runStage(request({ stage: 'submodels/0' }), never).catch((e) => e);
    expect(error).toBeInstanceOf(StoppedError);
    expect(error.message).toContain(`process ${process.pid}`);
    await Promise.all([1, 2, 3].map((k) => runStage(request({ stage: `submodels/${k}` }), body)));
    lock.release();
    await runStage(request({ stage: 'submodels/0' }), body);
    expect(run.stages()).toEqual(['submodels/0', 'submodels/1', 'submodels/2', 'submodels/3']);
  });

  it('a body whose lock was taken over publishes nothing', async () => {
    const other = {
      format: 1,
      attempt: 2,
      host: 'elsewhere',
      machine: 'm',
      pid: 1,
      started: '5',
      token: 't',
    };
    const lost = runStage(request(), async (context) => {
      context.assertOwned();
      const result = await body(context);
      writeFileSync(context.path('lock-2.json'), JSON.stringify({ ...other, since: '', released: false }));
      expect(() => context.assertOwned()).toThrow(StoppedError);
      return result;
    });
    await expect(lost).rejects.toThrow(StoppedError);
    expect(existsSync(run.path('corpus', 'DONE'))).toBe(false);
    expect(readManifest(run.path('corpus'))!.attempts[0]!.outcome).toBeUndefined();
  });

  it('killed between the rename of its output and DONE, a stage is run again and done', async () => {
    const script = join(import.meta.dirname, 'stage-process.ts');
    const mark = join(root, 'mark');
    const start = (environment: Record<string, string>) =>
      spawn(process.execPath, ['--import', 'tsx', script, run.root], {
        stdio: 'inherit',
        env: { ...process.env, ...environment },
      });
    const child = start({ DISCO_TEST_PAUSE: 'before-done:corpus', DISCO_TEST_PAUSE_MARK: mark });
    while (!existsSync(mark)) await setTimeout(10);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(readFileSync(run.path('corpus', 'a.bin'), 'utf8')).toBe('attempt 1');
    expect(readDone(run.path('corpus'))).toBeNull();
    const again = start({ DISCO_TEST_PAUSE: 'before-done:partition' });
    expect((await once(again, 'exit'))[0]).toBe(0);
    expect(readDone(run.path('corpus'))!.outputs[0]!.sha256).toBe(sha256('attempt 2'));
    expect(readManifest(run.path('corpus'))!.attempts.map(({ outcome }) => outcome)).toEqual([
      undefined,
      'done',
    ]);
  });
});

import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DataError, RequestError } from '../../src/errors.js';
import { readJson, writeFileAtomic, writeJson } from '../../src/formats/atomic.js';
import { fork, RunFolder } from '../../src/run/folder.js';
import { runStage, type StageContext, type StageResult } from '../../src/run/stage.js';
import { runLedger, runStatus, verifyRun } from '../../src/run/views.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'run-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const recipe =
  'format: 1\nname: a\nseed: 0\ntrain:\n  batchSize: 8\n  microBatch: null\nexecution:\n  threads: 2\n';
const body = async ({ path, ledger }: StageContext): Promise<StageResult> => {
  writeFileAtomic(path('w.bin'), 'weights');
  ledger.append({ tokens: 10, seconds: 2 });
  return { outputs: ['w.bin'], hashes: { w: 'h' } };
};
const never = (): Promise<StageResult> => Promise.reject(new Error('the stage was run again'));
const go = (run: RunFolder, stage: string, reads: unknown, work = body) =>
  runStage({ run, stage, reads, inputs: {}, command: 'test' }, work);

function refusal(act: () => unknown): RequestError {
  try {
    act();
  } catch (error) {
    if (error instanceof RequestError) return error;
    throw error;
  }
  throw new Error('not refused');
}

describe('a run folder', () => {
  it('is made with its recipe and opened again', () => {
    const run = RunFolder.create(join(root, 'a'), recipe);
    expect(readFileSync(run.path('recipe.yaml'), 'utf8')).toBe(recipe);
    expect(RunFolder.create(join(root, 'a'), recipe).root).toBe(run.root);
    expect(RunFolder.open(run.root).readRecipe()).toMatchObject({ seed: 0 });
    expect(run.parents).toEqual([]);
    expect(run.stages()).toEqual([]);
  });

  it('of another recipe is refused with every key that differs, once a stage has made something', async () => {
    const run = RunFolder.create(join(root, 'a'), recipe.replace('seed: 0', 'seed: 5'));
    await expect(go(run, 'corpus', {}, () => Promise.reject(new DataError('empty')))).rejects.toThrow(
      'empty',
    );
    // Nothing is lost with a recipe under which only an error came out.
    await go(RunFolder.create(run.root, recipe), 'corpus', {});
    const other = recipe
      .replace('seed: 0', 'seed: 1')
      .replace('batchSize: 8', 'batchSize: 16\n  clipNorm: 1');
    const error = refusal(() => RunFolder.create(join(root, 'a'), other));
    expect(error).toMatchObject({ key: 'seed', expected: '0', found: '1', exitStatus: 2 });
    expect(error.message).toContain('train.batchSize: 8 there, 16 now');
    expect(error.message).toContain('train.clipNorm: nothing there, 1 now');
    expect(error.hint).toContain('seed=1');
    expect(readFileSync(join(root, 'a', 'recipe.yaml'), 'utf8')).toBe(recipe);
  });

  it('takes the new values of keys that only say how it is executed', () => {
    RunFolder.create(join(root, 'a'), recipe);
    const other = recipe.replace('threads: 2', 'threads: 4').replace('microBatch: null', 'microBatch: 2');
    expect(RunFolder.create(join(root, 'a'), other).readRecipe()).toMatchObject({
      execution: { threads: 4 },
      train: { microBatch: 2 },
    });
  });

  it('is not made of a folder with other things, nor opened from one', () => {
    writeFileSync(join(root, 'thesis.tex'), '');
    expect(refusal(() => RunFolder.create(root, recipe)).found).toBe('thesis.tex');
    expect(refusal(() => RunFolder.open(root)).hint).toContain('disco run');
    expect(() => RunFolder.create(join(root, 'thesis.tex'), recipe)).toThrow(RequestError);
    expect(refusal(() => new RunFolder(root).stage('../other')).message).toContain('not the name of a stage');
  });

  it('lists its stages in the order of the algorithm', async () => {
    const run = RunFolder.create(join(root, 'a'), recipe);
    for (const stage of [
      'baseline',
      'submodels/10',
      'evaluation',
      'submodels/2',
      'corpus',
      'merged',
      'extra',
    ]) {
      await go(run, stage, {});
    }
    mkdirSync(run.path('finetuned'));
    expect(run.stages()).toEqual([
      'corpus',
      'submodels/2',
      'submodels/10',
      'merged',
      'baseline',
      'evaluation',
      'extra',
    ]);
  });
});

describe('fork', () => {
  it('refers to every stage whose key is unchanged and runs the others', async () => {
    const a = RunFolder.create(join(root, 'a'), recipe);
    await go(a, 'corpus', { unit: 'row' });
    const done = await go(a, 'submodels/0', { seed: 0 });
    await go(a, 'merged', { gamma: 'uniform' });
    const b = fork(a, join(root, 'b'), `${recipe}merge: { gamma: samples }\n`);
    expect(b.parents).toEqual([a.root]);
    await go(b, 'corpus', { unit: 'row' }, never);
    expect(await go(b, 'submodels/0', { seed: 0 }, never)).toEqual(done);
    expect(await go(b, 'submodels/0', { seed: 0 }, never)).toEqual(done);
    await go(b, 'merged', { gamma: 'samples' });
    expect(b.stage('submodels/0')).toMatchObject({
      own: b.path('submodels/0'),
      folder: a.path('submodels/0'),
    });
    expect(existsSync(b.stage('submodels/0').path('w.bin'))).toBe(true);
    expect(b.stageFolder('merged')).toBe(b.path('merged'));
    expect(runStatus(b).map(({ stage, state, refersTo }) => [stage, state, refersTo])).toEqual([
      ['corpus', 'done', a.path('corpus')],
      ['submodels/0', 'done', a.path('submodels/0')],
      ['merged', 'done', null],
    ]);
    const ledger = runLedger(b);
    expect(ledger.totals).toEqual({ tokens: 30, seconds: expect.any(Number) });
    expect(ledger.stages['submodels/0']).toMatchObject({
      referred: true,
      attempts: 1,
      totals: { tokens: 10 },
    });
    expect(await verifyRun(b)).toEqual([]);
  });

  it('of a fork refers to the first run, and both can be moved together', async () => {
    const a = RunFolder.create(join(root, 'runs', 'a'), recipe);
    await go(a, 'corpus', {});
    const b = fork(a, join(root, 'runs', 'b'), recipe.replace('seed: 0', 'seed: 1'));
    await go(b, 'corpus', {}, never);
    const c = fork(b, join(root, 'runs', 'c'), recipe.replace('seed: 0', 'seed: 2'));
    expect(c.parents).toEqual([b.root, a.root]);
    await go(c, 'corpus', {}, never);
    expect(c.stageFolder('corpus')).toBe(a.path('corpus'));
    renameSync(join(root, 'runs'), join(root, 'moved'));
    const moved = RunFolder.open(join(root, 'moved', 'c'));
    expect(moved.stageFolder('corpus')).toBe(join(root, 'moved', 'a', 'corpus'));
    expect(moved.parents).toEqual([join(root, 'moved', 'b'), join(root, 'moved', 'a')]);
  });

  it('notices when what it refers to has gone or changed', async () => {
    const a = RunFolder.create(join(root, 'a'), recipe);
    await go(a, 'corpus', {});
    const b = fork(a, join(root, 'b'), recipe.replace('seed: 0', 'seed: 1'));
    await go(b, 'corpus', {}, never);
    const done = a.path('corpus', 'DONE');
    writeJson(done, { ...(readJson(done) as object), key: 'other' });
    expect(() => b.stage('corpus')).toThrow('has changed');
    rmSync(a.root, { recursive: true });
    try {
      b.stage('corpus');
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(DataError);
      expect(error).toMatchObject({
        file: b.path('corpus', 'REFERS.json'),
        hint: expect.stringContaining('remove'),
      });
    }
  });

  it('into the same folder, or over another run, is refused', () => {
    const a = RunFolder.create(join(root, 'a'), recipe);
    expect(refusal(() => fork(a, a.root, recipe)).message).toContain('own folder');
    RunFolder.create(join(root, 'b'), recipe.replace('seed: 0', 'seed: 7'));
    expect(refusal(() => fork(a, join(root, 'b'), recipe)).key).toBe('seed');
  });
});

describe('verify', () => {
  it('finds a flipped byte, a missing file, another size and a forged key', async () => {
    const run = RunFolder.create(join(root, 'a'), recipe);
    for (const stage of ['corpus', 'partition', 'init', 'merged']) await go(run, stage, {});
    expect(await verifyRun(run)).toEqual([]);
    const bytes = readFileSync(run.path('corpus', 'w.bin'));
    bytes[3]! ^= 1;
    writeFileSync(run.path('corpus', 'w.bin'), bytes);
    rmSync(run.path('partition', 'w.bin'));
    writeFileSync(run.path('init', 'w.bin'), 'weights!');
    const done = run.path('merged', 'DONE');
    writeJson(done, { ...(readJson(done) as object), reads: { forged: true } });
    const faults = await verifyRun(run);
    expect(faults.map(({ stage, file, problem }) => [stage, file, problem])).toEqual([
      ['corpus', run.path('corpus', 'w.bin'), 'another content'],
      ['partition', run.path('partition', 'w.bin'), 'missing'],
      ['init', run.path('init', 'w.bin'), 'another size'],
      ['merged', done, 'its key does not follow from its inputs'],
    ]);
  });
});

describe('format 1, as version 0.1.0 wrote it', () => {
  let parent: RunFolder;
  let child: RunFolder;
  beforeEach(() => {
    cpSync(join(import.meta.dirname, '../golden/formats/run-format-1'), root, { recursive: true });
    parent = RunFolder.open(join(root, 'parent'));
    child = RunFolder.open(join(root, 'child'));
  });

  it('is read, and its stages are not run again', async () => {
    expect(parent.readRecipe()).toEqual({ format: 1, name: 'parent', seed: 3 });
    expect(child.parents).toEqual([parent.root]);
    expect(await verifyRun(child)).toEqual([]);
    expect(runLedger(child).stages.corpus).toEqual({
      attempts: 1,
      referred: true,
      totals: { seconds: expect.any(Number), tokens: 300 },
    });
    expect(runStatus(parent)).toMatchObject([
      { stage: 'corpus', state: 'done', attempts: 1, repeatable: true },
    ]);
    const request = {
      stage: 'corpus',
      reads: { unit: 'document' },
      inputs: { text: 'abc' },
      command: 'test',
    };
    expect((await runStage({ run: child, ...request }, never)).summary).toEqual({ documents: 7 });
  });

  it.each([
    'parent/recipe.yaml',
    'parent/corpus/DONE',
    'parent/corpus/manifest.json',
    'parent/corpus/ledger.jsonl',
    'child/corpus/REFERS.json',
    'child/parents.json',
  ])('a newer %s is refused', async (name) => {
    const file = join(root, name);
    const text = readFileSync(file, 'utf8');
    const newer = text.replace(/("?format"?: ?)1/, '$12');
    expect(newer).not.toBe(text);
    writeFileSync(file, newer);
    const readAll = () => [child.parents, runStatus(child), runLedger(child), RunFolder.open(parent.root)];
    try {
      readAll();
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(DataError);
      expect(error).toMatchObject({ file, key: 'format', expected: 'at most 1', found: '2' });
      expect((error as Error).message).toContain('newer version');
    }
  });
});

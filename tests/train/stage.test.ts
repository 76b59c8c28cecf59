/** The three trainings of a run as stages: what they read, what they need, what they leave. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BatchSource } from '../../src/corpus/batches.js';
import { buildCorpus, endTokenOf, openSplit } from '../../src/corpus/stage.js';
import { readJson } from '../../src/formats/atomic.js';
import { readJsonl } from '../../src/formats/jsonl.js';
import { mergeSubmodels } from '../../src/merge/stage.js';
import { openModel } from '../../src/model/open.js';
import { fingerprint } from '../../src/model/store-files.js';
import { documentsOfCluster, readAssignment } from '../../src/partition/assignment.js';
import { partitionCorpus } from '../../src/partition/stage.js';
import type { StageRun } from '../../src/run/context.js';
import { hashOf, readDone } from '../../src/run/done.js';
import { fork } from '../../src/run/folder.js';
import { readManifest } from '../../src/run/manifest.js';
import { requireDone } from '../../src/run/require.js';
import { initialise } from '../../src/split/stage.js';
import { fineTune, trainBaseline, trainSubmodel } from '../../src/train/stage.js';
import { trainingSummaryOf } from '../../src/train/summary.js';
import { changeDone, copyOfRun, type SmallRun, smallRun, tensorsOf, withTraining } from '../runs.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();

let root: string;
let small: SmallRun;
let copies = 0;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'train-stage-'));
  small = await smallRun(join(root, 'run'), [
    'train.finetune.steps=3',
    'train.baseline.steps=3',
    'train.evaluateEvery=2',
  ]);
});
afterAll(() => rmSync(root, { recursive: true }));

const copy = () => copyOfRun(small.context, join(root, `copy-${copies++}`));
/** Open files of this process, where the system tells. */
const openFiles = () => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0);

/** Rows of an epoch of each cluster. */
function rowsOfClusters({ run, recipe }: StageRun): number[] {
  const assignment = readAssignment(run.stageFolder('partition'));
  return [0, 1, 2].map((k) => {
    const store = openSplit({ run, recipe }, 'train');
    const { rowsPerEpoch } = new BatchSource({
      store,
      documents: documentsOfCluster(assignment, k),
      batch: recipe.corpus.batch,
      sequenceLength: recipe.corpus.sequenceLength,
      batchSize: recipe.train.batchSize,
      seed: recipe.seed,
      eos: endTokenOf(requireDone(run, 'corpus')),
    });
    store.close();
    return rowsPerEpoch;
  });
}

describe('a submodel', () => {
  it('needs nothing of its siblings or of the tokens of other clusters, and comes to the same bits', async () => {
    const all = copy();
    for (let k = 0; k < 3; k++) await trainSubmodel(all, k);
    const alone = copy();
    changeDone(alone.run.path('partition'), (done) => {
      const hashes = done.hashes as Record<string, string>;
      done.hashes = { 'cluster/2': hashes['cluster/2'] };
    });
    const done = await trainSubmodel(alone, 2);
    expect(existsSync(alone.run.path('submodels', '0'))).toBe(false);
    expect(done.key).toBe(readDone(all.run.path('submodels', '2'))!.key);
    expect(hashOf(done, 'weights')).toBe(hashOf(readDone(all.run.path('submodels', '2'))!, 'weights'));
    expect(
      new Set([0, 1, 2].map((k) => hashOf(readDone(all.run.path('submodels', String(k)))!, 'weights'))).size,
    ).toBe(3);
  });

  it('is a model folder with metrics, its summary, and no checkpoints', async () => {
    const context = copy();
    const before = openFiles();
    const done = await trainSubmodel(context, 1);
    expect(openFiles()).toBe(before);
    const folder = context.run.path('submodels', '1');
    expect(done.outputs.map(({ name }) => name).sort()).toEqual([
      'config.json',
      'metrics.jsonl',
      'model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(existsSync(join(folder, 'checkpoints'))).toBe(false);
    expect(readJson(join(folder, 'config.json'))).toMatchObject({ num_experts: 1, num_experts_per_tok: 1 });
    expect(trainingSummaryOf(done)).toMatchObject({
      steps: 2,
      tokens: 2 * 4 * 16,
      heldOutLoss: null,
      batchSize: 4,
    });
    const lines = readJsonl(join(folder, 'metrics.jsonl')) as { step: number }[];
    expect(lines.map(({ step }) => step)).toEqual([1, 2]);
    const store = openModel(folder);
    const init = requireDone(context.run, 'init');
    expect(fingerprint(store, 'backbone')).not.toBe(hashOf(init, 'shared'));
    expect(fingerprint(store, 'expert', 0)).not.toBe(hashOf(init, 'expert/1'));
    store.dispose();
    expect(readManifest(folder)).toMatchObject({ seeds: { weights: 0, data: 0 }, repeatable: true });
  });

  it('trained by nothing is theta_shared and theta_k of the initialisation', async () => {
    const context = withTraining(copy(), { steps: 0 });
    for (let k = 0; k < 3; k++) {
      const done = await trainSubmodel(context, k);
      const init = requireDone(context.run, 'init');
      const store = openModel(context.run.path('submodels', String(k)));
      expect(fingerprint(store, 'backbone')).toBe(hashOf(init, 'shared'));
      expect(fingerprint(store, 'expert', 0)).toBe(hashOf(init, `expert/${k}`));
      store.dispose();
      expect(done.inputs).toEqual({
        tokens: hashOf(requireDone(context.run, 'partition'), `cluster/${k}`),
        shared: hashOf(init, 'shared'),
        expert: hashOf(init, `expert/${k}`),
      });
      expect(trainingSummaryOf(done)).toMatchObject({ steps: 0, tokens: 0, loss: null });
    }
  });

  it.each([1, 1.5, 0.01])('of %d epochs has ceil(epochs rows / batch) steps', async (epochs) => {
    const context = withTraining(copy(), { steps: null, epochs });
    const rows = rowsOfClusters(context);
    for (let k = 0; k < (epochs === 1 ? 3 : 1); k++) {
      const { steps } = trainingSummaryOf(await trainSubmodel(context, k));
      expect(steps).toBe(Math.ceil((epochs * rows[k]!) / 4));
      expect(steps).toBeGreaterThan(0);
    }
  });

  it('is not trained again; another learning rate is another submodel, another micro-batch is not', async () => {
    const context = copy();
    const done = await trainSubmodel(context, 0);
    const { recipe } = context;
    const train = { ...recipe.train, microBatch: 1, checkpointSteps: 1, evaluateEvery: 7 };
    expect(await trainSubmodel({ ...context, recipe: { ...recipe, train } }, 0)).toEqual(done);
    await expect(trainSubmodel(withTraining(context, { learningRate: 1 }), 0)).rejects.toMatchObject({
      exitStatus: 2,
      key: 'train.submodels.learningRate',
    });
  });

  it('of a fork is that of the other run, whose folder is left alone', async () => {
    const context = copy();
    const done = await trainSubmodel(context, 0);
    const left = context.run.path('submodels', '0', 'checkpoints');
    mkdirSync(left);
    const forked = { ...context, run: fork(context.run, join(root, 'forked'), 'format: 1\n') };
    for (const stage of [buildCorpus, partitionCorpus, initialise]) await stage(forked);
    expect(await trainSubmodel(forked, 0)).toEqual(done);
    expect(existsSync(left)).toBe(true);
    expect(await trainSubmodel(context, 0)).toEqual(done);
    expect(existsSync(left)).toBe(false);
  });

  it.each([-1, 3, 0.5, Number.NaN])('number %d is refused', async (k) => {
    await expect(trainSubmodel(small.context, k)).rejects.toMatchObject({
      exitStatus: 2,
      key: '--expert',
      expected: '0 to 2',
      found: String(k),
    });
  });

  it.each(['partition', 'init'])('without %s says which command is missing', async (stage) => {
    const context = copy();
    rmSync(context.run.path(stage), { recursive: true });
    await expect(trainSubmodel(context, 0)).rejects.toMatchObject({
      exitStatus: 2,
      hint: expect.stringContaining(`${stage} ${context.run.root}`),
    });
  });

  it('whose initial weights are not those of the run is not trained', async () => {
    for (const name of ['shared', 'expert/0']) {
      const context = copy();
      changeDone(context.run.path('init'), (done) => {
        (done.hashes as Record<string, string>)[name] = 'f00';
      });
      await expect(trainSubmodel(context, 0)).rejects.toMatchObject({ key: name, expected: 'f00' });
      expect(existsSync(context.run.path('submodels', '0', 'DONE'))).toBe(false);
    }
  });

  it('stopped on the way goes on to the same bits', async () => {
    const [whole, parts] = [copy(), copy()];
    const steps = { steps: 4 };
    const done = await trainSubmodel(withTraining(whole, steps), 0);
    let looks = 0;
    const stop = {
      get requested() {
        return ++looks > 5;
      },
      reason: 'SIGTERM',
    };
    const stopped = trainSubmodel(withTraining({ ...parts, stop }, steps), 0);
    await expect(stopped).rejects.toMatchObject({
      exitStatus: 75,
      message: expect.stringContaining('after step 2 of 4'),
    });
    expect(existsSync(parts.run.path('submodels', '0', 'checkpoints'))).toBe(true);
    const again = await trainSubmodel(withTraining(parts, steps), 0);
    expect(hashOf(again, 'weights')).toBe(hashOf(done, 'weights'));
    expect(existsSync(parts.run.path('submodels', '0', 'checkpoints'))).toBe(false);
  });
});

describe('the whole model', () => {
  it('the baseline begins from the same initial weights, with held-out losses on the way', async () => {
    const context = copy();
    const before = openFiles();
    const done = await trainBaseline(context);
    expect(openFiles()).toBe(before);
    expect(done.inputs).toMatchObject(requireDone(context.run, 'init').hashes);
    const lines = readJsonl(context.run.path('baseline', 'metrics.jsonl')) as Record<string, number>[];
    expect(lines.flatMap(({ step, heldOutLoss }) => (heldOutLoss === undefined ? [] : [step]))).toEqual([
      0, 2, 3,
    ]);
    expect(lines[0]!.heldOutTokens).toBe(64);
    expect(trainingSummaryOf(done)).toMatchObject({ steps: 3, heldOutLoss: lines.at(-1)!.heldOutLoss });
    for (const name of ['shared', 'router', 'expert/2']) {
      const other = copy();
      changeDone(other.run.path('init'), (init) => {
        (init.hashes as Record<string, string>)[name] = 'f00';
      });
      await expect(trainBaseline(other)).rejects.toMatchObject({ key: name, expected: 'f00' });
    }
  });

  it('fine-tuning begins from the merged model, with fresh moments and a key of its weights', async () => {
    const context = copy();
    await expect(fineTune(context)).rejects.toMatchObject({ hint: expect.stringContaining('merge') });
    for (let k = 0; k < 3; k++) await trainSubmodel(context, k);
    const merged = await mergeSubmodels(context);
    const done = await fineTune(context);
    expect(done.inputs.weights).toBe(hashOf(merged, 'weights'));
    const lines = readJsonl(context.run.path('finetuned', 'metrics.jsonl')) as Record<string, number>[];
    expect(lines[0]!.heldOutLoss).toBe((merged.summary as { barrier: { merged: number } }).barrier.merged);
    const [before, after] = [tensorsOf(context.run.path('merged')), tensorsOf(context.run.path('finetuned'))];
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
    expect(after.get('model.layers.0.mlp.gate.weight')).not.toEqual(
      before.get('model.layers.0.mlp.gate.weight'),
    );
    // Finished is finished, whatever has become of the merged weights.
    rmSync(context.run.path('merged', 'model.safetensors'));
    expect(await fineTune(context)).toEqual(done);
  });
});

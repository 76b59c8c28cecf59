/** The seed phase: a training like the others, whose result is what the submodels start from. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readJsonl } from '../../src/formats/jsonl.js';
import { mergeSubmodels } from '../../src/merge/stage.js';
import { openModel } from '../../src/model/open.js';
import { fingerprint } from '../../src/model/store-files.js';
import { partitionCorpus } from '../../src/partition/stage.js';
import type { StageRun } from '../../src/run/context.js';
import { hashOf } from '../../src/run/done.js';
import { requireDone } from '../../src/run/require.js';
import { trainSeed } from '../../src/train/seed.js';
import { trainBaseline, trainSubmodel } from '../../src/train/stage.js';
import { trainingSummaryOf } from '../../src/train/summary.js';
import { copyOfRun, type SmallRun, smallRun, tensorsOf, valuesOf, withMerge, withTraining } from '../runs.js';
import { hashed } from '../split/models.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();

let root: string;
let small: SmallRun;
let copies = 0;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'seed-stage-'));
  const phase = (key: string) =>
    ['learningRate=0.002', 'schedule=constant', 'steps=3'].map((one) => `train.${key}.${one}`);
  small = await smallRun(join(root, 'run'), [
    ...[...phase('seed'), ...phase('baseline'), ...phase('submodels'), 'train.baseline.warmupRatio=0'],
    ...['train.evaluateEvery=2', 'merge.gamma=uniform', 'train.checkpointSteps=2'],
  ]);
});
afterAll(() => rmSync(root, { recursive: true }));

/** The run in a copy of its folder, with other keys of `train.seed`. */
function seeded(changes: Partial<StageRun['recipe']['train']['seed']>): StageRun {
  const context = copyOfRun(small.context, join(root, `copy-${copies++}`));
  const { recipe } = context;
  const train = { ...recipe.train, seed: { ...recipe.train.seed, ...changes } };
  return { ...context, recipe: { ...recipe, train } };
}

const untrained = (context: StageRun) => withTraining(context, { steps: 0 });

describe('of the whole model', () => {
  it('is a training like the baseline: with the same settings the same bits, with held-out losses on the way', async () => {
    const context = seeded({});
    const done = await trainSeed(context);
    await trainBaseline(context);
    expect(hashed(tensorsOf(context.run.path('seed')))).toEqual(
      hashed(tensorsOf(context.run.path('baseline'))),
    );
    const lines = readJsonl(context.run.path('seed', 'metrics.jsonl')) as Record<string, number>[];
    expect(lines.flatMap(({ step, heldOutLoss }) => (heldOutLoss === undefined ? [] : [step]))).toEqual([
      0, 2, 3,
    ]);
    expect(trainingSummaryOf(done)).toMatchObject({ steps: 3, tokens: 3 * 4 * 16 });
    expect(existsSync(context.run.path('seed', 'checkpoints'))).toBe(false);
    expect(done.inputs).toMatchObject(requireDone(context.run, 'init').hashes);
  });

  it('is what every submodel starts from, and what a merge of submodels that were not trained gives back', async () => {
    const context = untrained(seeded({}));
    await expect(trainSubmodel(context, 0)).rejects.toMatchObject({
      exitStatus: 2,
      hint: expect.stringContaining(`seed ${context.run.root}`),
    });
    const seed = await trainSeed(context);
    for (let k = 0; k < 3; k++) {
      const done = await trainSubmodel(context, k);
      expect(done.inputs).toMatchObject({
        shared: hashOf(seed, 'shared'),
        expert: hashOf(seed, `expert/${k}`),
      });
      const store = openModel(context.run.path('submodels', String(k)));
      expect(fingerprint(store, 'backbone')).toBe(hashOf(seed, 'shared'));
      expect(fingerprint(store, 'expert', 0)).toBe(hashOf(seed, `expert/${k}`));
      store.dispose();
    }
    await mergeSubmodels(context);
    expect(hashed(tensorsOf(context.run.path('merged')))).toEqual(
      hashed(tensorsOf(context.run.path('seed'))),
    );
  });

  it("is theta_0 of the radial average: changes are measured from it, not from the run's initial weights", async () => {
    const context = withMerge(withTraining(seeded({}), { steps: 2 }), { average: 'radial' });
    await trainSeed(context);
    for (let k = 0; k < 3; k++) await trainSubmodel(context, k);
    await mergeSubmodels(context);
    const name = 'model.layers.1.self_attn.o_proj.weight';
    const numbersOf = (stage: string) => Array.from(valuesOf(tensorsOf(context.run.path(stage)).get(name)!));
    const start = numbersOf('seed');
    const changes = [0, 1, 2].map((k) => numbersOf(`submodels/${k}`).map((value, i) => value - start[i]!));
    const length = (values: number[]) => Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0));
    const mean = start.map((_, i) => changes.reduce((sum, change) => sum + change[i]! / 3, 0));
    const scale = changes.reduce((sum, change) => sum + length(change) / 3, 0) / length(mean);
    expect(scale).toBeGreaterThan(1.01);
    const merged = numbersOf('merged');
    merged.forEach((value, i) => {
      expect(value).toBeCloseTo(start[i]! + scale * mean[i]!, 6);
    });
  });

  it('stopped on the way goes on to the same bits', async () => {
    const [whole, parts] = [seeded({ steps: 5 }), seeded({ steps: 5 })];
    const done = await trainSeed(whole);
    let looks = 0;
    const stop = {
      reason: 'SIGTERM',
      get requested() {
        return ++looks > 12;
      },
    };
    await expect(trainSeed({ ...parts, stop })).rejects.toMatchObject({ exitStatus: 75 });
    expect(existsSync(parts.run.path('seed', 'checkpoints'))).toBe(true);
    expect(existsSync(parts.run.path('seed', 'DONE'))).toBe(false);
    const again = await trainSeed(parts);
    expect(again.hashes).toEqual(done.hashes);
    expect(hashed(tensorsOf(parts.run.path('seed')))).toEqual(hashed(tensorsOf(whole.run.path('seed'))));
  });
});

describe('of one submodel', () => {
  it('is the submodel on the whole corpus: with the same settings the same bits', async () => {
    const context = seeded({ model: 'submodel' });
    await trainSeed(context);
    const { recipe } = context;
    const plain = seeded({ steps: 0 });
    rmSync(plain.run.path('partition'), { recursive: true });
    const whole = {
      ...plain,
      recipe: { ...plain.recipe, partition: { ...recipe.partition, method: 'whole' as const } },
    };
    await partitionCorpus(whole);
    await trainSubmodel(whole, 0);
    expect(hashed(tensorsOf(context.run.path('seed')))).toEqual(
      hashed(tensorsOf(whole.run.path('submodels', '0'))),
    );
  });

  it('lends its backbone and a copy of its expert to every submodel, which keeps its own router row', async () => {
    const context = untrained(seeded({ model: 'submodel' }));
    const seed = await trainSeed(context);
    const init = requireDone(context.run, 'init');
    expect(seed.hashes).toMatchObject({ router: init.hashes.router, 'expert/2': hashOf(seed, 'expert/0') });
    for (let k = 0; k < 3; k++) await trainSubmodel(context, k);
    await mergeSubmodels(context);
    const trained = hashed(tensorsOf(context.run.path('seed')));
    const store = openModel(context.run.path('merged'));
    expect(fingerprint(store, 'router')).toBe(hashOf(init, 'router'));
    store.dispose();
    for (const [name, hash] of Object.entries(hashed(tensorsOf(context.run.path('merged'))))) {
      if (name.includes('.gate.')) continue;
      expect(hash, name).toBe(trained[name.replace(/experts\.\d+\./, 'experts.0.')]);
    }
  });
});

it('of no steps does not exist: no key of another stage knows it', async () => {
  const [plain, other] = [seeded({ steps: 0 }), seeded({ steps: 0, learningRate: 1, model: 'submodel' })];
  await expect(trainSeed(plain)).rejects.toMatchObject({ exitStatus: 2, key: 'train.seed.steps' });
  const [one, two] = [await trainSubmodel(plain, 0), await trainSubmodel(other, 0)];
  expect(one.key).toBe(two.key);
  // Nor does the baseline, which starts without it.
  const seed = seeded({});
  expect((await trainBaseline(seed)).key).toBe((await trainBaseline(plain)).key);
});

it('without a learning rate of its own takes that of the S-phase, and its key says so', async () => {
  const context = seeded({ learningRate: null });
  const done = await trainSeed(context);
  expect(done.reads).toMatchObject({ train: { seed: { learningRate: 0.002, steps: 3 } } });
  await expect(trainSeed(withTraining(context, { learningRate: 0.1 }))).rejects.toMatchObject({
    exitStatus: 2,
    key: 'train.seed.learningRate',
  });
});

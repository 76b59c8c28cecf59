/** The merge of real submodels of a small run: three experts, trained by nothing or a little. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readJson } from '../../src/formats/atomic.js';
import { sha256 } from '../../src/formats/hash.js';
import { openWeights } from '../../src/formats/hf-folder.js';
import type { TensorSource } from '../../src/formats/safetensors.js';
import { mergeReportSchema } from '../../src/merge/report.js';
import { mergeSubmodels } from '../../src/merge/stage.js';
import { fillInitialWeights } from '../../src/model/initial-weights.js';
import { ParameterStore } from '../../src/model/store.js';
import type { StageRun } from '../../src/run/context.js';
import { hashOf } from '../../src/run/done.js';
import { modelConfigOf } from '../../src/split/stage.js';
import * as torch from '../../src/torch/index.js';
import { trainSubmodel } from '../../src/train/stage.js';
import { trainingSummaryOf } from '../../src/train/summary.js';
import {
  changeDone,
  changeJson,
  changeTensors,
  copyOfRun,
  removeWeights,
  type SmallRun,
  smallRun,
  tensorsOf,
  valuesOf,
  withMerge,
  withTraining,
} from '../runs.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();

let root: string;
let small: SmallRun;
/** Submodels that were trained for 0 and for 2 steps. */
let untrained: StageRun;
let trained: StageRun;
let copies = 0;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'merge-'));
  small = await smallRun(join(root, 'trained'));
  trained = small.context;
  untrained = withMerge(withTraining(copyOfRun(trained, join(root, 'untrained')), { steps: 0 }), {
    gamma: 'uniform',
  });
  for (const context of [untrained, trained]) for (let k = 0; k < 3; k++) await trainSubmodel(context, k);
});
afterAll(() => rmSync(root, { recursive: true }));

const copyOf = (context: StageRun) => copyOfRun(context, join(root, `copy-${copies++}`));
const submodel = (context: StageRun, k: number) => context.run.path('submodels', String(k));
const reportOf = (context: StageRun) => readJson(context.run.path('merged', 'merge.json'), mergeReportSchema);
const EXPERT = 'model.layers.0.mlp.experts.0.up_proj.weight';
const BACKBONE = 'model.layers.1.self_attn.q_proj.weight';
const ROUTER = 'model.layers.1.mlp.gate.weight';

/** The whole model as it was initialised, tensor by tensor. */
function initialTensors(context: StageRun): Map<string, Uint8Array> {
  const store = new ParameterStore(modelConfigOf(context.recipe, context.run));
  fillInitialWeights(store, { seed: context.recipe.seed });
  const tensors = store.parameters.map(({ name }) => {
    const bytes = torch.scope(() => store.parameter(name).bytes());
    return [name, bytes] as const;
  });
  store.dispose();
  return new Map(tensors);
}

describe('split and merged with no training between', () => {
  it.each(['plain', 'radial'] as const)('gives back every tensor bit for bit, %s', async (average) => {
    const context = withMerge(copyOf(untrained), { average });
    await mergeSubmodels(context);
    const initial = initialTensors(context);
    const merged = tensorsOf(context.run.path('merged'));
    expect([...merged.keys()].sort()).toEqual([...initial.keys()].sort());
    expect(merged.size).toBe(3 + 2 * (14 + 3 * 3));
    for (const [name, bytes] of initial) expect(Buffer.compare(merged.get(name)!, bytes), name).toBe(0);
    expect(reportOf(context).gamma).toEqual([1 / 3, 1 / 3, 1 / 3]);
    expect(reportOf(context).relativeDrift).toBeLessThan(1e-15);
    expect(readJson(context.run.path('merged', 'config.json'))).toMatchObject({
      num_experts: 3,
      num_experts_per_tok: 1,
    });
  });

  it('has nothing to weigh samples by', async () => {
    const merge = mergeSubmodels(withMerge(copyOf(untrained), { gamma: 'samples' }));
    await expect(merge).rejects.toMatchObject({ exitStatus: 2, key: 'merge.gamma' });
  });
});

describe('trained submodels', () => {
  it('merge.json accounts for every tensor by name, shape, type, origin and hash', async () => {
    const context = copyOf(trained);
    const done = await mergeSubmodels(context);
    const weights = openWeights(context.run.path('merged'));
    const { tensors } = reportOf(context);
    expect(tensors.map(({ name }) => name).sort()).toEqual([...weights.names].sort());
    for (const { name, shape, dtype, sha256: hash } of tensors) {
      expect(weights.info(name)).toMatchObject({ shape, dtype });
      expect(sha256(weights.read(name)), name).toBe(hash);
    }
    weights.close();
    const of = (name: string) => tensors.find((tensor) => tensor.name === name)!;
    expect(of(EXPERT.replace('experts.0', 'experts.2'))).toMatchObject({
      made: 'copy',
      from: [`submodels/2:${EXPERT}`],
    });
    expect(of(ROUTER)).toMatchObject({ made: 'initial', from: ['init'], shape: [3, 16] });
    expect(of(BACKBONE).from).toEqual([0, 1, 2].map((k) => `submodels/${k}:${BACKBONE}`));
    const made = (how: string) => tensors.filter((tensor) => tensor.made === how).length;
    expect([made('copy'), made('initial'), made('average')]).toEqual([18, 2, tensors.length - 20]);
    expect(done.outputs.map(({ name }) => name).sort()).toEqual([
      'config.json',
      'merge.json',
      'model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(hashOf(done, 'weights')).toMatch(/^[0-9a-f]{64}$/);
  });

  it('experts are copied, routers original, backbones averaged by tokens; drift and barrier are recorded', async () => {
    const context = copyOf(trained);
    const dones = await Promise.all([0, 1, 2].map((k) => trainSubmodel(context, k)));
    const tokens = dones.map((done) => trainingSummaryOf(done).tokens);
    await mergeSubmodels(context);
    const report = reportOf(context);
    const all = tokens.reduce((a, b) => a + b, 0);
    expect(report.gamma).toEqual(tokens.map((count) => count / all));

    const parts = [0, 1, 2].map((k) => tensorsOf(submodel(context, k)));
    const merged = tensorsOf(context.run.path('merged'));
    const initial = initialTensors(context);
    expect(merged.get(EXPERT.replace('experts.0', 'experts.2'))).toEqual(parts[2]!.get(EXPERT));
    expect(merged.get(EXPERT)).not.toEqual(initial.get(EXPERT));
    expect(merged.get(ROUTER)).toEqual(initial.get(ROUTER));

    let spread = 0;
    let size = 0;
    for (const { name } of report.tensors.filter(({ made }) => made === 'average')) {
      const values = parts.map((part) => valuesOf(part.get(name)!));
      const mean = Array.from(values[0]!, (_, i) =>
        values.reduce((sum, part, k) => sum + report.gamma[k]! * part[i]!, 0),
      );
      // Half a step of float32 from the exact average; which half, where it lies in the middle, is left open.
      const wrong = valuesOf(merged.get(name)!).findIndex(
        (value, i) => Math.abs(value - mean[i]!) > 1.000001 * 2 ** -24 * Math.abs(mean[i]!),
      );
      expect(wrong, name).toBe(-1);
      for (const part of values) for (const [i, value] of part.entries()) spread += (value - mean[i]!) ** 2;
      for (const value of mean) size += value ** 2;
    }
    expect(report.relativeDrift).toBeCloseTo(Math.sqrt(spread / 3 / size), 12);
    expect(report.relativeDrift).toBeGreaterThan(0.001);

    const barrier = report.barrier!;
    expect(barrier.submodels).toHaveLength(3);
    expect(barrier.meanOfSubmodels).toBeCloseTo(barrier.submodels.reduce((a, b) => a + b, 0) / 3, 12);
    expect(barrier.barrier).toBe(barrier.merged - barrier.meanOfSubmodels);
    expect(barrier.heldOutTokens).toBe(64);
  });

  it('gamma 0, 1, 0 keeps the second backbone bit for bit', async () => {
    const context = withMerge(copyOf(trained), { gamma: [0, 1, 0] });
    await mergeSubmodels(context);
    const [merged, second] = [tensorsOf(context.run.path('merged')), tensorsOf(submodel(context, 1))];
    for (const { name, made } of reportOf(context).tensors)
      if (made === 'average') expect(merged.get(name), name).toEqual(second.get(name));
  });

  it('a finished merge stands when the weights of the submodels are gone; another gamma is another merge', async () => {
    const context = copyOf(trained);
    const done = await mergeSubmodels(context);
    for (let k = 0; k < 3; k++) removeWeights(submodel(context, k));
    expect(await mergeSubmodels(context)).toEqual(done);
    await expect(mergeSubmodels(withMerge(context, { gamma: 'uniform' }))).rejects.toMatchObject({
      exitStatus: 2,
      key: 'merge.gamma',
    });
  });

  it('a stop leaves no DONE, and the next merge is whole', async () => {
    const context = copyOf(trained);
    small.stop.requested = true;
    await expect(mergeSubmodels(context)).rejects.toMatchObject({ exitStatus: 75 });
    small.stop.requested = false;
    expect(existsSync(context.run.path('merged', 'DONE'))).toBe(false);
    expect((await mergeSubmodels(context)).outputs).toHaveLength(5);
  });
});

it('one submodel on the whole corpus: its expert is copied E times', async () => {
  const { context } = await smallRun(join(root, 'whole'), ['partition.method=whole']);
  await trainSubmodel(context, 0);
  await expect(trainSubmodel(context, 1)).rejects.toMatchObject({ exitStatus: 2, found: '1' });
  await mergeSubmodels(context);
  const only = tensorsOf(submodel(context, 0));
  const merged = tensorsOf(context.run.path('merged'));
  for (let e = 0; e < 3; e++)
    expect(merged.get(EXPERT.replace('experts.0', `experts.${e}`))).toEqual(only.get(EXPERT));
  expect(merged.get(BACKBONE)).toEqual(only.get(BACKBONE));
  expect(merged.get(ROUTER)).toEqual(initialTensors(context).get(ROUTER));
  expect(reportOf(context)).toMatchObject({ gamma: [1], relativeDrift: 0 });
});

describe('refuses, naming file and key', () => {
  /** Merges a copy in which submodel 1 was changed; nothing of a merged model may be left. */
  async function refusal(change: (folder: string) => void | Promise<void>): Promise<unknown> {
    const context = copyOf(trained);
    await change(submodel(context, 1));
    const error = await mergeSubmodels(context).then(
      () => new Error('it was merged'),
      (thrown: unknown) => thrown,
    );
    for (const file of ['DONE', 'config.json', 'model.safetensors'])
      expect(existsSync(context.run.path('merged', file)), file).toBe(false);
    return error;
  }
  const change = (edit: (tensors: TensorSource[]) => TensorSource[]) => (folder: string) =>
    changeTensors(folder, edit);
  const swap = (name: string, more: Partial<TensorSource>) =>
    change((tensors) => tensors.map((tensor) => (tensor.name === name ? { ...tensor, ...more } : tensor)));

  it('a submodel that is missing', async () => {
    const error = await refusal((folder) => rmSync(folder, { recursive: true }));
    expect(error).toMatchObject({ exitStatus: 2, hint: expect.stringContaining('--expert 1') });
  });

  it('a tensor that is missing, left over or renamed', async () => {
    const missing = await refusal(change((tensors) => tensors.filter(({ name }) => name !== BACKBONE)));
    expect(missing).toMatchObject({ exitStatus: 2, key: BACKBONE });
    const extra: TensorSource = {
      name: 'model.extra.weight',
      dtype: 'F32',
      shape: [1],
      write: (sink) => sink(new Uint8Array(4)),
    };
    const leftOver = await refusal(change((tensors) => [...tensors, extra]));
    expect(leftOver).toMatchObject({ exitStatus: 2, key: 'model.extra.weight' });
    const renamed = await refusal(swap(EXPERT, { name: EXPERT.replace('experts.0', 'experts.1') }));
    expect(renamed).toMatchObject({ exitStatus: 2, key: EXPERT.replace('experts.0', 'experts.1') });
  });

  it('a tensor of another shape or type', async () => {
    expect(await refusal(swap(BACKBONE, { shape: [8, 32] }))).toMatchObject({
      exitStatus: 2,
      key: BACKBONE,
      expected: 'float32 [16,16]',
      found: 'F32 [8,32]',
    });
    const half = {
      dtype: 'BF16',
      write: (sink: (bytes: Uint8Array) => void) => sink(new Uint8Array(512)),
    } as const;
    expect(await refusal(swap(BACKBONE, half))).toMatchObject({
      exitStatus: 2,
      key: BACKBONE,
      found: 'BF16 [16,16]',
    });
  });

  it('a router row that is not that of the initialisation', async () => {
    const zeros = { write: (sink: (bytes: Uint8Array) => void) => sink(new Uint8Array(64)) };
    expect(await refusal(swap(ROUTER, zeros))).toMatchObject({
      exitStatus: 2,
      key: ROUTER,
      message: expect.stringContaining('submodel 1'),
    });
  });

  it('a submodel of other initial weights, or of another expert', async () => {
    for (const key of ['shared', 'expert']) {
      const error = await refusal((folder) =>
        changeDone(folder, (done) => {
          (done.inputs as Record<string, string>)[key] = 'f00';
        }),
      );
      expect(error).toMatchObject({ exitStatus: 2, key: `inputs.${key}`, found: 'f00' });
    }
  });

  it('a submodel of another recipe', async () => {
    const error = await refusal((folder) =>
      changeDone(folder, (done) => {
        const reads = done.reads as { train: { submodels: { learningRate: number } } };
        reads.train.submodels.learningRate = 0.5;
      }),
    );
    expect(error).toMatchObject({
      exitStatus: 2,
      key: 'train.submodels.learningRate',
      expected: '0.5',
      found: '0.001',
      message: expect.stringContaining('submodels/1'),
    });
    const all = withTraining(copyOf(trained), { weightDecay: 0.5 });
    await expect(mergeSubmodels(all)).rejects.toMatchObject({ key: 'train.submodels.weightDecay' });
  });

  it('a submodel of another vocabulary or configuration', async () => {
    const error = await refusal((folder) => {
      changeJson(join(folder, 'config.json'), (config) => {
        config.vocab_size = 5000;
      });
      changeDone(folder, () => {});
    });
    expect(error).toMatchObject({ exitStatus: 2, key: 'vocabSize', expected: '4096', found: '5000' });
  });

  it('a file that was cut off, and a DONE without its hashes', async () => {
    const short = await refusal((folder) => changeJson(join(folder, 'config.json'), () => {}));
    expect(short).toMatchObject({ exitStatus: 2, file: expect.stringContaining('config.json') });
    const bare = await refusal((folder) =>
      changeDone(folder, (done) => {
        done.hashes = {};
      }),
    );
    expect(bare).toMatchObject({ exitStatus: 2, key: 'hashes.weights' });
    const silent = await refusal((folder) =>
      changeDone(folder, (done) => {
        done.summary = { tokens: 'many' };
      }),
    );
    expect(silent).toMatchObject({ exitStatus: 2, key: expect.stringContaining('summary.') });
  });
});

it('tells what the submodels had in common', () => {
  expect(small.said.join('\n')).toMatch(/merged: gamma 0\.\d{3}, 0\.\d{3}, 0\.\d{3}; relative drift/);
  expect(readFileSync(join(root, 'trained', 'recipe.yaml'), 'utf8')).toContain('gamma: samples');
});

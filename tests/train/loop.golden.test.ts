/** The training loop against the same training written in PyTorch and transformers (tests/golden/make_train.py). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { readJson } from '../../src/formats/atomic.js';
import { openWeights, readConfig } from '../../src/formats/hf-folder.js';
import { readJsonl } from '../../src/formats/jsonl.js';
import { SafetensorsReader } from '../../src/formats/safetensors.js';
import type { TokenRows } from '../../src/model/batch.js';
import { parseModelConfig } from '../../src/model/config.js';
import { Decoder } from '../../src/model/decoder.js';
import { ParameterStore } from '../../src/model/store.js';
import { loadTensors } from '../../src/model/store-files.js';
import { loadRecipe } from '../../src/recipe/load.js';
import { RunFolder } from '../../src/run/folder.js';
import { runStage } from '../../src/run/stage.js';
import { type Training, train } from '../../src/train/loop.js';
import { readRows, relativeError } from '../model/golden.js';
import { expectNoLeaks } from '../torch/leaks.js';

const folder = fileURLToPath(new URL('../golden/train', import.meta.url));
const runSchema = z.object({
  crossEntropy: z.array(z.number()),
  balance: z.array(z.number()),
  gradientNorm: z.array(z.number()),
  learningRate: z.array(z.number()),
});
const record = readJson(
  join(folder, 'expected.json'),
  z.looseObject({
    steps: z.number(),
    warmupRatio: z.number(),
    schedule: z.literal('cosine'),
    learningRate: z.number(),
    beta1: z.number(),
    beta2: z.number(),
    epsilon: z.number(),
    weightDecay: z.number(),
    clipNorm: z.number(),
    runs: z.object({ 8: runSchema, 2: runSchema }),
  }),
);
const { recipe } = loadRecipe(fileURLToPath(new URL('../../recipes/tiny.yaml', import.meta.url)));

expectNoLeaks();

let file: SafetensorsReader;
let temporary: string;
beforeAll(() => {
  file = SafetensorsReader.open(join(folder, 'expected.safetensors'));
  temporary = mkdtempSync(join(tmpdir(), 'golden-training-'));
});
afterAll(() => {
  file.close();
  rmSync(temporary, { recursive: true });
});

/** Rows first .. first + count - 1 of a batch. */
function slice(batch: TokenRows, first: number, count: number): TokenRows {
  const { sequenceLength } = batch;
  const range = [first * sequenceLength, (first + count) * sequenceLength] as const;
  const valid = batch.valid!.slice(...range);
  const labels = batch.labels.slice(...range);
  return {
    inputIds: batch.inputIds.slice(...range),
    labels,
    valid,
    rows: count,
    sequenceLength,
    tokens: valid.filter((value) => value === 1).length,
    targets: labels.filter((label) => label >= 0).length,
  };
}

/** Trains in a stage of a fresh run folder; returns its metrics and how the weights changed. */
async function trainStored(microBatch: 8 | 2, backward: 'graph' | 'blocks') {
  const store = new ParameterStore(parseModelConfig(readConfig(folder), folder), { training: true });
  const weightsOf = (name: string): Float32Array => {
    const view = store.parameter(name);
    const values = view.toArray() as Float32Array;
    view.dispose();
    return values;
  };
  const initialise = (): void => {
    const weights = openWeights(folder);
    loadTensors(store, weights, folder);
    weights.close();
  };
  initialise();
  const names = store.parameters.map((parameter) => parameter.name);
  const before = new Map(names.map((name) => [name, weightsOf(name)]));
  const batches = Array.from({ length: record.steps }, (_, step) => readRows(file, `batch.${step}`));
  const { steps, schedule, learningRate, warmupRatio, beta1, beta2, epsilon, weightDecay, clipNorm } = record;
  const training: Training = {
    stage: 'baseline',
    model: new Decoder(store),
    initialise,
    source: {
      rowsPerEpoch: 80,
      targetTokens: (step) => batches[step]!.targets,
      rows: (step, first, count) => slice(batches[step]!, first, count),
    },
    steps,
    seed: 0,
    schedule: { schedule, learningRate, warmupRatio },
    optimizer: { beta1, beta2, epsilon, weightDecay, clipNorm },
    batchSize: 8,
    microBatch,
    sequenceLength: batches[0]!.sequenceLength,
    backward,
    heldOut: null,
    checkpointMinutes: 60,
    checkpointSteps: null,
  };
  const run = RunFolder.create(join(temporary, `${backward}-${microBatch}`), 'format: 1\n');
  const context = {
    run,
    recipe,
    reporter: { progress: () => {}, say: () => {} },
    stop: { requested: false, reason: '' },
    device: 'cpu',
  };
  try {
    await runStage({ run, stage: 'baseline', reads: {}, inputs: {}, command: 'test' }, async (stage) => {
      await train(training, stage, context);
      return { hashes: {} };
    });
    const metrics = readJsonl(run.path('baseline', 'metrics.jsonl')) as Record<string, number>[];
    const updates = new Map(
      names.map((name) => [name, weightsOf(name).map((value, i) => value - before.get(name)![i]!)]),
    );
    return { metrics, updates, before };
  } finally {
    store.dispose();
  }
}

describe.each([8, 2] as const)('micro-batches of %i rows', (microBatch) => {
  test.each(['graph', 'blocks'] as const)('backward by %s', async (backward) => {
    const { metrics, updates, before } = await trainStored(microBatch, backward);
    const expected = record.runs[microBatch];
    expect(metrics).toHaveLength(record.steps);
    const column = (name: string) => metrics.map((entry) => entry[name]!);
    expect(relativeError(column('loss'), expected.crossEntropy)).toBeLessThan(1e-5);
    expect(relativeError(column('balanceLoss'), expected.balance)).toBeLessThan(1e-5);
    expect(relativeError(column('gradNorm'), expected.gradientNorm)).toBeLessThan(1e-5);
    expect(relativeError(column('learningRate'), expected.learningRate)).toBeLessThan(1e-12);
    for (const [name, update] of updates) {
      const after = file.read(`after.${microBatch}.${name}`).slice();
      const wanted = new Float32Array(after.buffer).map((value, i) => value - before.get(name)![i]!);
      // The two ways of slicing differ by more than this: by the balance loss of each micro-batch.
      expect(relativeError(update, wanted), name).toBeLessThan(1e-3);
    }
  });
});

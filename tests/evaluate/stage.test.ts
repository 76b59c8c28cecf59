/** The evaluation of a small run, and held-out losses of model folders, against sums of losses by hand. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSplit } from '../../src/corpus/stage.js';
import { folderLoss, openHeldOut } from '../../src/evaluate/held-out.js';
import { evaluateRun } from '../../src/evaluate/stage.js';
import { type Evaluation, evaluationSchema } from '../../src/evaluate/types.js';
import { readJson } from '../../src/formats/atomic.js';
import { hashJson } from '../../src/formats/hash.js';
import { mergeSubmodels } from '../../src/merge/stage.js';
import { toDevice } from '../../src/model/batch.js';
import { Decoder } from '../../src/model/decoder.js';
import { openModel } from '../../src/model/open.js';
import type { StageRun } from '../../src/run/context.js';
import { type Done, hashOf } from '../../src/run/done.js';
import * as torch from '../../src/torch/index.js';
import { fineTune, trainBaseline, trainSubmodel } from '../../src/train/stage.js';
import { changeTensors, copyOfRun, removeWeights, type SmallRun, smallRun } from '../runs.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();

let root: string;
let small: SmallRun;
let context: StageRun;
let done: Done;
let evaluation: Evaluation;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'evaluate-'));
  small = await smallRun(join(root, 'run'), ['train.finetune.steps=2', 'train.baseline.steps=2']);
  context = small.context;
  for (let k = 0; k < 3; k++) await trainSubmodel(context, k);
  await mergeSubmodels(context);
  await fineTune(context);
  await trainBaseline(context);
  done = await evaluateRun(context);
  evaluation = readJson(context.run.path('evaluation', 'evaluation.json'), evaluationSchema);
});
afterAll(() => rmSync(root, { recursive: true }));

const MODELS = ['submodels/0', 'submodels/1', 'submodels/2', 'merged', 'finetuned', 'baseline'];

/**
 * Losses of a model by document, from its logits alone: every document behind an end token, one row for each
 * sequenceLength tokens of the split, as the rows are cut.
 */
function lossesByHand(model: string, split: 'validation' | 'test'): { sum: number; targets: number }[] {
  const { sequenceLength } = context.recipe.corpus;
  const tokens = openSplit(context, split);
  const ids = [0, ...tokens.read(0, tokens.tokens)];
  const store = openModel(context.run.stageFolder(model));
  const decoder = new Decoder(store);
  const documents = Array.from({ length: tokens.documents }, () => ({ sum: 0, targets: 0 }));
  for (let first = 0; first < tokens.tokens; first += sequenceLength) {
    const count = Math.min(sequenceLength, tokens.tokens - first);
    const batch = {
      inputIds: Int32Array.from(ids.slice(first, first + count)),
      labels: new Int32Array(count).fill(-100),
      valid: null,
      rows: 1,
      sequenceLength: count,
      tokens: count,
      targets: 0,
    };
    const logits = torch.scope(() => decoder.logits(toDevice(batch, 'cpu')).toNumbers());
    for (let i = 0; i < count; i++) {
      const row = logits.slice(i * 4096, (i + 1) * 4096);
      const top = Math.max(...row);
      const logSum = top + Math.log(row.reduce((sum, value) => sum + Math.exp(value - top), 0));
      const document = documents[tokens.documentAt(first + i)]!;
      document.sum += logSum - row[ids[first + i + 1]!]!;
      document.targets++;
    }
  }
  store.dispose();
  tokens.close();
  return documents;
}

describe('evaluation.json', () => {
  it('has the held-out loss of every model of the run, and its perplexity', () => {
    expect(Object.keys(evaluation.models)).toEqual(MODELS);
    const { tokens } = evaluation.models.merged!.validation;
    for (const { validation } of Object.values(evaluation.models)) {
      expect(validation.perplexity).toBe(Math.exp(validation.loss));
      expect(validation.tokens).toBe(tokens);
      expect(validation.loss).toBeGreaterThan(5);
      expect(validation.loss).toBeLessThan(9);
    }
    expect(new Set(MODELS.map((model) => evaluation.models[model]!.validation.loss)).size).toBe(6);
    expect(done.summary).toEqual(evaluation.models);
    expect(hashOf(done, 'evaluation')).toBe(hashJson(evaluation));
  });

  it.each([
    ['finetuned', 'validation'],
    ['finetuned', 'test'],
    ['baseline', 'test'],
  ] as const)('the losses of %s on %s are those of its logits, document by document', (model, split) => {
    const byHand = lossesByHand(model, split);
    const found = evaluation.perDocument[split][model];
    expect(found.map(([, targets]) => targets)).toEqual(byHand.map(({ targets }) => targets));
    found.forEach(([sum], i) => {
      expect(sum / byHand[i]!.sum).toBeCloseTo(1, 5);
    });
    const whole = split === 'test' ? evaluation.test[model] : evaluation.models[model]!.validation;
    const targets = found.reduce((count, document) => count + document[1], 0);
    expect(whole.tokens).toBe(targets);
    expect(found.reduce((sum, document) => sum + document[0], 0) / targets).toBeCloseTo(whole.loss, 12);
  });

  it('has the bigram model on the same targets', () => {
    const { validation } = evaluation.bigram;
    expect(validation.tokens).toBe(evaluation.models.baseline!.validation.tokens);
    expect(validation.loss).toBeGreaterThan(0);
    expect(validation.loss).toBeLessThan(evaluation.models.baseline!.validation.loss);
  });

  it('its schema refuses what is not finite, missing or unknown', () => {
    const refused = (change: (content: Evaluation) => unknown) => {
      const content = structuredClone(evaluation);
      change(content);
      expect(evaluationSchema.safeParse(content).success).toBe(false);
    };
    refused((content) => {
      content.test.baseline.loss = Number.NaN;
    });
    refused((content) => {
      content.test.baseline.perplexity = Number.POSITIVE_INFINITY;
    });
    refused((content) => Object.assign(content, { format: 2 }));
    refused((content) => Object.assign(content, { extra: 1 }));
    refused((content) => Reflect.deleteProperty(content, 'bigram'));
  });
});

describe('the stage', () => {
  it('is not run again, and leaves no file open', async () => {
    const openFiles = () => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0);
    const before = openFiles();
    const told = small.progress.length;
    expect(await evaluateRun(context)).toEqual(done);
    expect(small.progress).toHaveLength(told);
    const again = copyOfRun(context, join(root, 'again'));
    rmSync(again.run.path('evaluation'), { recursive: true });
    expect((await evaluateRun(again)).hashes).toEqual(done.hashes);
    expect(openFiles()).toBe(before);
    const notes = small.progress.slice(told).map(({ note }) => note);
    expect(notes).toContain('held-out loss of submodels/2 on the validation split');
    expect(notes.filter((note) => note?.includes('test'))).toHaveLength(2);
  });

  it('needs every model: what is missing is named, with the command', async () => {
    const missing = copyOfRun(context, join(root, 'missing'));
    rmSync(missing.run.path('evaluation'), { recursive: true });
    removeWeights(missing.run.path('baseline'));
    await expect(evaluateRun(missing)).rejects.toMatchObject({
      exitStatus: 2,
      file: missing.run.path('baseline', 'model.safetensors'),
    });
    rmSync(missing.run.path('baseline'), { recursive: true });
    await expect(evaluateRun(missing)).rejects.toMatchObject({
      exitStatus: 2,
      hint: expect.stringContaining('baseline'),
    });
  });
});

describe('the loss of a folder', () => {
  const request = () => ({ stage: 'evaluation', folder: context.run.path('merged'), name: 'merged' });

  it('is taken on the first targets only where asked for', async () => {
    const held = openHeldOut(context, 'validation', 40);
    expect(held.rows.targets).toBe(40);
    const { loss, targets } = await folderLoss(context, request(), held.rows);
    held.close();
    expect(targets).toBe(40);
    expect(loss).not.toBe(evaluation.models.merged!.validation.loss);
    expect(() => held.rows.batch(0, 1)).toThrow('closed');
  });

  it('stops where it is asked to, and a loss that is not finite is named', async () => {
    const held = openHeldOut(context, 'validation');
    const stop = { requested: true, reason: 'SIGTERM' };
    await expect(folderLoss({ ...context, stop }, request(), held.rows)).rejects.toMatchObject({
      exitStatus: 75,
      message: expect.stringContaining('SIGTERM'),
    });
    const broken = copyOfRun(context, join(root, 'broken')).run.path('merged');
    await changeTensors(broken, (tensors) =>
      tensors.map((tensor) =>
        tensor.name === 'model.norm.weight'
          ? { ...tensor, write: (sink) => sink(new Uint8Array(new Float32Array(16).fill(Number.NaN).buffer)) }
          : tensor,
      ),
    );
    await expect(folderLoss(context, { ...request(), folder: broken }, held.rows)).rejects.toMatchObject({
      exitStatus: 65,
      file: broken,
      found: 'NaN',
    });
    held.close();
  });
});

/** The training loop in real stages: what a stop, a kill or a divergence leaves, and what the next attempt makes of it. */
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NumericError, StoppedError } from '../../src/errors.js';
import { sha256 } from '../../src/formats/hash.js';
import { readJsonl } from '../../src/formats/jsonl.js';
import { type ModelConfig, parseModelConfig } from '../../src/model/config.js';
import { Decoder } from '../../src/model/decoder.js';
import { fillInitialWeights } from '../../src/model/initial-weights.js';
import { ParameterStore } from '../../src/model/store.js';
import { loadRecipe } from '../../src/recipe/load.js';
import type { Progress, StageRun } from '../../src/run/context.js';
import { RunFolder } from '../../src/run/folder.js';
import { readLedger, sumLedger } from '../../src/run/ledger.js';
import { runStage } from '../../src/run/stage.js';
import * as torch from '../../src/torch/index.js';
import { type Training, type TrainingResult, train } from '../../src/train/loop.js';
import { readEvents } from '../formats/tensorboard-reader.js';
import { familyJson, sliceRows, tinyConfig, tokenRows } from '../model/fixtures.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();
const { recipe } = loadRecipe(fileURLToPath(new URL('../../recipes/tiny.yaml', import.meta.url)));

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'loop-'));
});
afterEach(() => rmSync(root, { recursive: true }));

/** Four rows a step, padded differently in every one. */
const batchOf = (step: number) => tokenRows([7, 5, 7, 3 + (step % 4)], 7, step + 1);
const heldRows = tokenRows([7, 6, 7], 7, 99);
const held = {
  rows: 3,
  sequenceLength: 7,
  batch: (first: number, count: number) => {
    const rows = sliceRows(heldRows, first, Math.min(count, 3 - first));
    return { ...rows, documents: rows.labels.map((label) => (label < 0 ? -1 : first)) };
  },
};

/** How one attempt is made. */
interface Attempt {
  /** Looks at the stop signal, from 1, from which on a stop is asked for. */
  stopAt?: number;
  changes?: Partial<Training>;
  config?: Record<string, unknown>;
  /** Instead of the Qwen2-MoE of `config`. */
  model?: ModelConfig;
}

interface Trained {
  result: TrainingResult;
  /** Hash of all weights and moments. */
  state: string;
  looks: number;
  said: string[];
  progress: Progress[];
}

/** Trains for 6 steps in the run folder `name`, or goes on there. */
async function attempt(name: string, { stopAt, changes, config, model }: Attempt = {}): Promise<Trained> {
  const store = new ParameterStore(model ?? tinyConfig(config), { training: true });
  const said: string[] = [];
  const progress: Progress[] = [];
  let looks = 0;
  const stop = {
    get requested() {
      return ++looks >= (stopAt ?? Number.POSITIVE_INFINITY);
    },
    reason: 'SIGTERM',
  };
  const run = RunFolder.create(join(root, name), 'format: 1\n');
  const context: StageRun = {
    run,
    recipe,
    reporter: { progress: (state) => progress.push(state), say: (text) => said.push(text) },
    stop,
    device: 'cpu',
  };
  const training: Training = {
    stage: 'baseline',
    model: new Decoder(store),
    initialise: () => fillInitialWeights(store, { seed: 7 }),
    source: {
      rowsPerEpoch: 10,
      targetTokens: (step) => batchOf(step).targets,
      rows: (step, first, count) => sliceRows(batchOf(step), first, count),
    },
    steps: 6,
    seed: 7,
    schedule: { schedule: 'cosine', learningRate: 0.01, warmupRatio: 0 },
    optimizer: { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 1 },
    batchSize: 4,
    microBatch: 2,
    sequenceLength: 7,
    backward: 'graph',
    heldOut: { rows: held, every: 2 },
    checkpointMinutes: 60,
    checkpointSteps: null,
    ...changes,
  };
  try {
    let result: TrainingResult | undefined;
    await runStage({ run, stage: 'baseline', reads: {}, inputs: {}, command: 'test' }, async (stage) => {
      result = await train(training, stage, context);
      return { hashes: {} };
    });
    const flat = store.blocks.flatMap(({ weights, training: kept }) => [
      weights,
      kept!.firstMoments,
      kept!.secondMoments,
    ]);
    const state = sha256(flat.map((tensor) => sha256(tensor.bytes())).join());
    return { result: result!, state, looks, said, progress };
  } finally {
    store.dispose();
  }
}

const stageFolder = (name: string) => join(root, name, 'baseline');
const checkpoints = (name: string) => {
  const folder = join(stageFolder(name), 'checkpoints');
  return existsSync(folder)
    ? readdirSync(folder)
        .filter((file) => file.endsWith('.json'))
        .sort()
    : [];
};
const checkpointNames = (...steps: number[]) => steps.map((step) => `step-0000000${step}.json`);

type Line = Record<string, unknown> & { step: number };
/** The metrics without what a clock says. */
function metricsOf(name: string): Line[] {
  return (readJsonl(join(stageFolder(name), 'metrics.jsonl')) as Line[]).map(
    ({ seconds, tokensPerSecond, evaluationSeconds, dollars, ...line }) => {
      for (const time of [seconds, tokensPerSecond ?? evaluationSeconds, dollars ?? 0])
        expect(time).toBeGreaterThanOrEqual(0);
      return line;
    },
  );
}
/** Losses and learning rates as TensorBoard shows them: what a later attempt repeats is not shown twice. */
function shownByTensorBoard(name: string): Line[] {
  const files = readdirSync(stageFolder(name)).filter((file) => file.includes('tfevents'));
  let shown: Line[] = [];
  for (const file of files.sort()) {
    for (const { step, start, scalars } of readEvents(join(stageFolder(name), file))) {
      if (start) shown = shown.filter((line) => line.step < step);
      const losses = Object.entries(scalars).filter(
        ([tag]) => /loss$|learning/.test(tag) && !/balance/.test(tag),
      );
      if (losses.length > 0) shown.push({ step, ...Object.fromEntries(losses) });
    }
  }
  return shown;
}
const untimed = ({ seconds, ...result }: TrainingResult) => {
  expect(seconds).toBeGreaterThan(0);
  return result;
};

describe('an undisturbed training', () => {
  it('records every step, and the held-out loss at the start, every N steps and at the end', async () => {
    const { result, progress } = await attempt('a', { changes: { heldOut: { rows: held, every: 4 } } });
    const lines = metricsOf('a');
    expect(lines.map(({ step, heldOutLoss }) => [step, heldOutLoss !== undefined])).toEqual([
      [0, true],
      [1, false],
      [2, false],
      [3, false],
      [4, false],
      [4, true],
      [5, false],
      [6, false],
      [6, true],
    ]);
    const losses = lines.flatMap(({ loss }) => (typeof loss === 'number' ? [loss] : []));
    const evaluated = lines.filter(({ heldOutLoss }) => heldOutLoss !== undefined);
    expect(evaluated.every(({ heldOutTokens }) => heldOutTokens === heldRows.targets)).toBe(true);
    expect(result).toMatchObject({
      step: 6,
      tokens: [0, 1, 2, 3, 4, 5].reduce((sum, step) => sum + batchOf(step).tokens, 0),
      heldOutLoss: evaluated.at(-1)!.heldOutLoss,
    });
    expect(result.loss).toBeCloseTo(losses.reduce((a, b) => a + b, 0) / 6, 12);
    expect(losses.at(-1)!).toBeLessThan(losses[0]!);
    expect(lines[1]).toMatchObject({ learningRate: 0.01, tokens: batchOf(0).tokens });
    expect(lines[1]!.expertTokens).toEqual([0, 1].map(() => expect.arrayContaining([expect.any(Number)])));
    expect(progress.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(progress.at(-1)).toMatchObject({ stage: 'baseline', steps: 6, secondsLeft: 0 });
    expect(checkpoints('a')).toEqual(checkpointNames(6));
    const { totals } = sumLedger(readLedger(stageFolder('a')));
    expect(totals).toMatchObject({ steps: 6, tokens: 6 * 4 * 7 });
    expect(totals.flops).toBeGreaterThan(0);
    expect(totals.evaluateSeconds).toBeGreaterThan(0);
  });

  it('saves every so many steps and minutes, and keeps two', async () => {
    await attempt('steps', { changes: { checkpointSteps: 2 } });
    expect(checkpoints('steps')).toEqual(checkpointNames(4, 6));
    await attempt('minutes', { changes: { checkpointMinutes: 1e-9 } });
    expect(checkpoints('minutes')).toEqual(checkpointNames(5, 6));
  });

  it('without held-out rows measures nothing on the way', async () => {
    const { result } = await attempt('a', { changes: { heldOut: null } });
    expect(result.heldOutLoss).toBeNull();
    expect(metricsOf('a').every(({ heldOutLoss }) => heldOutLoss === undefined)).toBe(true);
  });

  it('micro-batches of 1, 2 and 4 rows give the same training', async () => {
    // The balance loss is that of each micro-batch, so it stays out of this.
    const config = { output_router_logits: false };
    const losses = async (microBatch: number) => {
      await attempt(`m${microBatch}`, { config, changes: { microBatch } });
      return metricsOf(`m${microBatch}`).map(({ loss, heldOutLoss }) => (loss ?? heldOutLoss) as number);
    };
    const whole = await losses(4);
    for (const microBatch of [1, 2]) {
      const parts = await losses(microBatch);
      whole.forEach((loss, i) => {
        expect(parts[i]! / loss).toBeCloseTo(1, 5);
      });
    }
  });
});

describe('a stop', () => {
  it('does not change the noise of a router', async () => {
    const model = parseModelConfig(familyJson.llama_moe, 'config.json');
    const changes = { steps: 3 };
    const undisturbed = await attempt('noise', { changes, model });
    await attempt('noise-stopped', { stopAt: 6, changes, model }).catch(() => {});
    expect(checkpoints('noise-stopped')).not.toEqual([]);
    expect((await attempt('noise-stopped', { changes, model })).state).toBe(undisturbed.state);
    const other = await attempt('noise-of-another-seed', { changes: { ...changes, seed: 8 }, model });
    expect(other.state).not.toBe(undisturbed.state);
  });

  it('at any moment saves, ends with 75, and the next attempt comes to the same bits and the same lines', async () => {
    const changes = { steps: 4 };
    const undisturbed = await attempt('undisturbed', { changes });
    const metrics = metricsOf('undisturbed');
    // Held-out losses are one batch each, at 0, 2, 4; steps are 2 micro-batches each.
    expect(undisturbed.looks).toBe(3 + 4 * 2);
    for (let stopAt = 1; stopAt <= undisturbed.looks; stopAt++) {
      const name = `stop-${stopAt}`;
      const error = await attempt(name, { stopAt, changes }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(StoppedError);
      const { step } = { step: 0, ...metricsOf(name).at(-1) };
      expect(error).toMatchObject({
        exitStatus: 75,
        message: expect.stringContaining(`after step ${step} of 4`),
      });
      expect(checkpoints(name)).toEqual(step === 0 ? [] : checkpointNames(step));
      const resumed = await attempt(name, { changes });
      expect(resumed.state, `stopped at look ${stopAt}`).toBe(undisturbed.state);
      expect(metricsOf(name), `stopped at look ${stopAt}`).toEqual(metrics);
      expect(untimed(resumed.result)).toEqual(untimed(undisturbed.result));
      expect(resumed.said).toEqual(step === 0 ? [] : [`baseline: continues after step ${step} of 4`]);
    }
  });

  it('again and again gets there, and bills every attempt', async () => {
    const undisturbed = await attempt('undisturbed');
    let attempts = 0;
    const goOn = async (): Promise<Trained> => {
      attempts++;
      // Each attempt may look five times: enough for one step and the held-out loss beside it.
      return attempt('often', { stopAt: 5 }).catch(goOn);
    };
    const { state, result } = await goOn();
    expect(attempts).toBeGreaterThan(3);
    expect(state).toBe(undisturbed.state);
    expect(untimed(result)).toEqual(untimed(undisturbed.result));
    expect(metricsOf('often')).toEqual(metricsOf('undisturbed'));
    expect(shownByTensorBoard('often')).toEqual(
      metricsOf('often').map(({ step, loss, heldOutLoss, learningRate }) => ({
        step,
        ...(loss === undefined ? {} : { 'train/loss': Math.fround(loss as number) }),
        ...(heldOutLoss === undefined ? {} : { 'validation/loss': Math.fround(heldOutLoss as number) }),
        ...(learningRate === undefined ? {} : { 'train/learning_rate': Math.fround(learningRate as number) }),
      })),
    );
    const { attempts: billed, totals } = sumLedger(readLedger(stageFolder('often')));
    expect(billed).toBe(attempts);
    expect(totals.steps).toBe(6);
  });
});

describe('a kill', () => {
  /** What a kill leaves: the metrics of an undisturbed training, and only its checkpoint of step 4. */
  async function killed(name: string): Promise<void> {
    await attempt(name, { changes: { checkpointSteps: 4 } });
    rmSync(join(stageFolder(name), 'DONE'));
    for (const extension of ['json', 'safetensors'])
      rmSync(join(stageFolder(name), 'checkpoints', `step-00000006.${extension}`));
    expect(checkpoints(name)).toEqual(checkpointNames(4));
  }

  it('after a checkpoint: the lines of lost steps are cut, then written again', async () => {
    const undisturbed = await attempt('undisturbed');
    await killed('a');
    const file = join(stageFolder('a'), 'metrics.jsonl');
    writeFileSync(file, '{"step": 7, "lo', { flag: 'a' });
    const resumed = await attempt('a');
    expect(resumed.state).toBe(undisturbed.state);
    expect(metricsOf('a')).toEqual(metricsOf('undisturbed'));
    expect(untimed(resumed.result)).toEqual(untimed(undisturbed.result));
  });

  it('before DONE: nothing is trained again, and the result is the same', async () => {
    const undisturbed = await attempt('a');
    const lines = readFileSync(join(stageFolder('a'), 'metrics.jsonl'));
    rmSync(join(stageFolder('a'), 'DONE'));
    const again = await attempt('a');
    expect(again.state).toBe(undisturbed.state);
    expect(again.result).toEqual(undisturbed.result);
    expect(again.looks).toBe(0);
    expect(readFileSync(join(stageFolder('a'), 'metrics.jsonl'))).toEqual(lines);
  });

  it('with every checkpoint damaged it begins anew, with fresh moments', async () => {
    const undisturbed = await attempt('undisturbed');
    await killed('a');
    truncateSync(join(stageFolder('a'), 'checkpoints', 'step-00000004.safetensors'), 1000);
    const again = await attempt('a');
    expect(again.said).toEqual([expect.stringContaining('damaged')]);
    expect(again.state).toBe(undisturbed.state);
    expect(metricsOf('a')).toEqual(metricsOf('undisturbed'));
    expect(checkpoints('a')).toEqual(checkpointNames(6));
  });

  it('a damaged line of the metrics is named', async () => {
    await killed('a');
    const file = join(stageFolder('a'), 'metrics.jsonl');
    const lines = readFileSync(file, 'utf8').split('\n');
    for (const [damage, key] of [
      ['[]', 'line 2'],
      ['{"step": 1, "loss": "low"}', 'line 2'],
      ['{', 'line 2'],
    ]) {
      writeFileSync(file, [lines[0], damage, ...lines.slice(2)].join('\n'));
      await expect(attempt('a')).rejects.toMatchObject({ exitStatus: 2, file, key });
    }
  });
});

describe('a value that is not finite', () => {
  /** Makes the loss of one step infinite: a huge weight, once that step is asked for. */
  const poisoned = (step: number): Partial<Training> => ({
    checkpointSteps: 2,
    source: {
      rowsPerEpoch: 10,
      targetTokens: (asked) => (asked === step ? Number.NaN : batchOf(asked).targets),
      rows: (asked, first, count) => sliceRows(batchOf(asked), first, count),
    },
  });

  it('ends the training with 65, names step, rows and epoch, and keeps the last checkpoint', async () => {
    const error = await attempt('a', { changes: poisoned(4) }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(NumericError);
    expect(error).toMatchObject({
      exitStatus: 65,
      message: expect.stringMatching(/diverged at step 5: .* NaN\. The checkpoint of step 4 is kept/),
      key: 'step 5, rows 16 to 19 of the data order, epoch 1',
    });
    expect(checkpoints('a')).toEqual(checkpointNames(2, 4));
    expect(metricsOf('a').at(-1)!.step).toBe(4);
    const again = attempt('a', { changes: poisoned(4) });
    await expect(again).rejects.toMatchObject({ message: expect.stringContaining('at step 5') });
  });

  it('a gradient that overflows where the loss does not', async () => {
    const config = { initializer_range: 1e15, output_router_logits: false };
    const error = await attempt('a', { config }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      exitStatus: 65,
      message: expect.stringMatching(/at step 1: the gradient's norm is \S+\. There was no checkpoint yet/),
    });
    expect(checkpoints('a')).toEqual([]);
  });

  it('a held-out loss: the step after which it showed is named, and no line is written', async () => {
    const broken = {
      rows: 3,
      sequenceLength: 7,
      batch: (first: number, count: number) => {
        const rows = held.batch(first, count);
        return { ...rows, labels: rows.labels.map(() => -100) };
      },
    };
    const error = await attempt('a', { changes: { heldOut: { rows: broken, every: 2 } } }).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ exitStatus: 65, message: expect.stringContaining('held-out loss is NaN') });
    expect(metricsOf('a')).toEqual([]);
  });
});

it('holds no tensor between steps', async () => {
  const before = torch.liveTensors();
  const live: number[] = [];
  const rows = (step: number, first: number, count: number) => {
    live.push(torch.liveTensors());
    return sliceRows(batchOf(step), first, count);
  };
  const source = { rowsPerEpoch: 10, targetTokens: (step: number) => batchOf(step).targets, rows };
  await attempt('a', { changes: { source } });
  expect(live).toHaveLength(12);
  expect(new Set(live.slice(2)).size).toBe(1);
  expect(live[0]).toBeGreaterThan(before);
});

/**
 * The one training loop: S-phase, F-phase and full-parameter baseline alike. A step is a global batch; its
 * micro-batches accumulate gradients; between micro-batches the event loop turns, so that signals, progress and
 * heartbeats go on. Everything but weights and moments is a function of the step's number, so that a training
 * that was killed goes on from a checkpoint to the same bits.
 */
import { setImmediate as turn } from 'node:timers/promises';
import type { BatchSource } from '../corpus/batches.js';
import { trainingFlops } from '../cost/flops.js';
import { NumericError, StoppedError } from '../errors.js';
import { type HeldOutRows, meanLoss } from '../evaluate/loss.js';
import { TensorBoardWriter } from '../formats/tensorboard.js';
import { type TokenRows, toDevice } from '../model/batch.js';
import type { Decoder } from '../model/decoder.js';
import { gateNoise } from '../model/noisy-router.js';
import type { StageRun } from '../run/context.js';
import type { StageContext } from '../run/stage.js';
import { testPoint } from '../run/test-point.js';
import * as torch from '../torch/index.js';
import { type GradientRequest, lossAndGradients } from './backward.js';
import { type Counters, loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import { Metrics } from './metrics.js';
import { AdamW, type AdamWOptions, type Optimizer } from './optimizer.js';
import { learningRateAt, type Schedule } from './schedule.js';

/** A training, apart from where it runs. */
export interface Training {
  stage: string;
  /** Its store keeps gradients. */
  model: Decoder;
  /** Fills the weights at the start; not called when a checkpoint is there. */
  initialise(): void;
  source: Pick<BatchSource, 'rowsPerEpoch' | 'targetTokens' | 'rows'>;
  steps: number;
  /** Noise of the routers follows from it, where a family has any. */
  seed: number;
  schedule: Schedule;
  optimizer: AdamWOptions;
  /** Rows of a global batch, and rows computed at once. */
  batchSize: number;
  microBatch: number;
  sequenceLength: number;
  backward: 'graph' | 'blocks';
  /** Held-out rows and the steps between two looks at them; null: none. */
  heldOut: { rows: HeldOutRows; every: number } | null;
  checkpointMinutes: number;
  checkpointSteps: number | null;
}

/** What a finished training has done. */
export interface TrainingResult extends Counters {
  /** Mean training loss of the last window of steps, at most 50; null without a step. */
  loss: number | null;
  /** Held-out loss after the last step; null where none is measured. */
  heldOutLoss: number | null;
}

/**
 * Runs a training to its end, from its newest checkpoint where there is one.
 *
 * @throws StoppedError after saving, when asked to stop; NumericError for a loss or gradient that is not finite: the
 * last checkpoint stays
 */
export async function train(
  training: Training,
  stage: StageContext,
  context: StageRun,
): Promise<TrainingResult> {
  const { reporter } = context;
  const { store } = training.model;
  const found = await loadCheckpoint(stage.path('checkpoints'), store, (text) => reporter.say(text));
  if (found === null) training.initialise();
  else reporter.say(`${training.stage}: continues after step ${found.step} of ${training.steps}`);
  if (store.step !== (found?.step ?? 0)) throw new Error('a training begins with fresh moments');
  const events = new TensorBoardWriter(stage.folder, stage.attempt, store.step + 1);
  const metrics = new Metrics(stage.path('metrics.jsonl'), store.step, events);
  try {
    return await new Trainer(training, stage, context, metrics, found).run();
  } finally {
    metrics.close();
  }
}

class Trainer {
  private readonly optimizer: Optimizer;
  private counters: Counters;
  /** Step of the newest checkpoint; 0 where there is none: the initial weights need none. */
  private saved: number;
  private lastCheckpoint = performance.now();
  /** Of this attempt, for the ledger. */
  private readonly spent = { trainSeconds: 0, evaluateSeconds: 0, checkpointSeconds: 0, tokens: 0, steps: 0 };

  constructor(
    private readonly training: Training,
    private readonly stage: StageContext,
    private readonly context: StageRun,
    private readonly metrics: Metrics,
    found: Counters | null,
  ) {
    this.optimizer = new AdamW(training.model.store, training.optimizer);
    this.counters = found ?? { step: 0, tokens: 0, seconds: 0 };
    this.saved = this.counters.step;
  }

  async run(): Promise<TrainingResult> {
    const { steps, stage } = this.training;
    const { metrics } = this;
    try {
      await this.look();
      while (this.counters.step < steps) {
        await this.step();
        await this.look();
      }
      await testPoint(`after-training:${stage}`);
      return { ...this.counters, loss: metrics.smoothedLoss, heldOutLoss: metrics.heldOut?.loss ?? null };
    } finally {
      this.record();
    }
  }

  /** What is due between two steps: a held-out loss, which an attempt before this one may have left out, a checkpoint. */
  private async look(): Promise<void> {
    const { heldOut, steps } = this.training;
    const { step } = this.counters;
    if (heldOut !== null && (step % heldOut.every === 0 || step === steps)) {
      if (this.metrics.heldOut?.step !== step) await this.evaluate(heldOut.rows);
    }
    if (this.checkpointDue()) await this.checkpoint();
  }

  /** One optimizer step over a global batch. */
  private async step(): Promise<void> {
    const { model, source, batchSize, microBatch, backward, schedule, steps, sequenceLength } = this.training;
    const { step } = this.counters;
    const began = performance.now();
    const globalTargets = Math.max(1, source.targetTokens(step));
    const microBatches = Math.ceil(batchSize / microBatch);
    model.store.zeroGrad();
    let loss = 0;
    let balance: number | null = null;
    let tokens = 0;
    let expertTokens: number[][] = [];
    for (let first = 0; first < batchSize; first += microBatch) {
      await turn();
      await this.stopIfAsked();
      const rows = source.rows(step, first, Math.min(microBatch, batchSize - first));
      const result = torch.scope(() =>
        lossAndGradients(model, toDevice(rows, model.store.device), {
          globalTargets,
          balanceScale: 1 / microBatches,
          mode: backward,
          noise: this.noise(first, rows),
        }),
      );
      if (!Number.isFinite(result.loss)) this.diverged(`the loss is ${result.loss}`);
      loss += result.crossEntropy;
      if (result.balanceLoss !== null) balance = (balance ?? 0) + result.balanceLoss / microBatches;
      tokens += rows.tokens;
      expertTokens = addCounts(expertTokens, result.expertTokens);
    }
    const learningRate = learningRateAt(schedule, step, steps);
    const { gradientNorm, updated } = this.optimizer.step(learningRate);
    if (!updated) this.diverged(`the gradient's norm is ${gradientNorm}`);

    const seconds = (performance.now() - began) / 1000;
    this.counters = {
      step: step + 1,
      tokens: this.counters.tokens + tokens,
      seconds: this.counters.seconds + seconds,
    };
    this.spent.trainSeconds += seconds;
    this.spent.tokens += batchSize * sequenceLength;
    this.spent.steps++;
    this.metrics.append({
      step: step + 1,
      loss,
      tokens: this.counters.tokens,
      seconds: this.counters.seconds,
      learningRate,
      gradNorm: gradientNorm,
      tokensPerSecond: tokens / seconds,
      dollars: this.dollars,
      ...(balance === null ? {} : { balanceLoss: balance }),
      ...(expertTokens.length === 0 ? {} : { expertTokens }),
    });
    this.showProgress(tokens / seconds);
  }

  /** What a noisy router adds to its logits; undefined for every other model. */
  private noise(firstRow: number, { rows, sequenceLength }: TokenRows): GradientRequest['noise'] {
    const { seed, model } = this.training;
    const { router, gateAddNoise, numExperts } = model.config;
    if (router !== 'noisy' || !gateAddNoise) return undefined;
    const place = { seed, step: this.counters.step, firstRow, rows, sequenceLength };
    return gateNoise(place, numExperts, model.store.device);
  }

  private async evaluate(rows: HeldOutRows): Promise<void> {
    const { step, tokens, seconds } = this.counters;
    const began = performance.now();
    const onBatch = (): Promise<void> => this.stopIfAsked();
    const { loss, targets } = await meanLoss(this.training.model, rows, { onBatch });
    const evaluationSeconds = (performance.now() - began) / 1000;
    this.spent.evaluateSeconds += evaluationSeconds;
    if (!Number.isFinite(loss)) this.diverged(`the held-out loss is ${loss}`, step);
    this.metrics.append({
      step,
      heldOutLoss: loss,
      heldOutTokens: targets,
      tokens,
      seconds,
      evaluationSeconds,
    });
  }

  private checkpointDue(): boolean {
    const { checkpointMinutes, checkpointSteps, steps } = this.training;
    const { step } = this.counters;
    if (step === this.saved) return false;
    if (step === steps) return true;
    if (checkpointSteps !== null && step % checkpointSteps === 0) return true;
    return performance.now() - this.lastCheckpoint >= checkpointMinutes * 60_000;
  }

  private async checkpoint(): Promise<void> {
    const { store } = this.training.model;
    const began = performance.now();
    this.metrics.sync();
    await saveCheckpoint(this.stage.path('checkpoints'), store, this.counters, {
      previous: this.saved,
      check: this.stage.assertOwned,
    });
    this.saved = this.counters.step;
    this.lastCheckpoint = performance.now();
    this.spent.checkpointSeconds += (this.lastCheckpoint - began) / 1000;
    this.record();
  }

  /** Ends the training when that was asked for; nothing is lost but a step that is under way. */
  private async stopIfAsked(): Promise<void> {
    const { stop } = this.context;
    if (!stop.requested) return;
    const { stage, steps } = this.training;
    const { step } = this.counters;
    if (step !== this.saved) await this.checkpoint();
    throw new StoppedError(`${stage}: stopped (${stop.reason}) and saved after step ${step} of ${steps}.`, {
      hint: 'run the same command again to continue',
    });
  }

  /** @param step the step, from 1, at which it showed: the one under way, or the last one before an evaluation */
  private diverged(what: string, step = this.counters.step + 1): never {
    const { stage, source, batchSize, schedule } = this.training;
    const row = Math.max(0, step - 1) * batchSize;
    const kept =
      this.saved === 0 ? 'There was no checkpoint yet.' : `The checkpoint of step ${this.saved} is kept.`;
    throw new NumericError(`${stage}: training diverged at step ${step}: ${what}. ${kept}`, {
      file: this.stage.folder,
      key: `step ${step}, rows ${row} to ${row + batchSize - 1} of the data order, epoch ${Math.floor(row / source.rowsPerEpoch)}`,
      expected: 'a finite number',
      hint: `a lower learning rate than ${schedule.learningRate}, or a longer warm-up; moe-disco fork keeps what is finished`,
    });
  }

  private showProgress(tokensPerSecond: number): void {
    const { stage, steps } = this.training;
    const { step } = this.counters;
    const { smoothedLoss: loss, heldOut } = this.metrics;
    const perStep = this.spent.trainSeconds / this.spent.steps;
    this.context.reporter.progress({
      stage,
      step,
      steps,
      ...(loss === null ? {} : { loss }),
      ...(heldOut === null ? {} : { heldOutLoss: heldOut.loss }),
      tokensPerSecond,
      secondsLeft: perStep * (steps - step),
      dollars: this.dollars,
    });
  }

  /** What the optimizer steps up to here have cost, by the seconds they took. */
  private get dollars(): number {
    return (this.counters.seconds / 3600) * this.context.recipe.cost.machineDollarsPerHour;
  }

  /** Running totals of this attempt. */
  private record(): void {
    const { batchSize, sequenceLength, model } = this.training;
    const flops = trainingFlops(model.config, { steps: this.spent.steps, batchSize, sequenceLength });
    this.stage.ledger.append({ ...this.spent, flops });
  }
}

function addCounts(a: number[][], b: number[][]): number[][] {
  return b.map((layer, i) => layer.map((count, j) => count + (a[i]?.[j] ?? 0)));
}

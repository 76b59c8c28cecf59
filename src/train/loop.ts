/**
 * The one training loop: S-phase, F-phase and full-parameter baseline alike. A step is a global batch; its
 * micro-batches accumulate gradients; between micro-batches the event loop turns, so that signals, progress and
 * heartbeats go on. Everything but weights and moments is a function of the step's number, so that a training
 * that was killed goes on from a checkpoint to the same bits.
 */
import { setImmediate as turn } from 'node:timers/promises';
import type { BatchSource } from '../corpus/batches.js';
import { trainingFlops } from '../cost/flops.js';
import { DataError, NumericError, StoppedError } from '../errors.js';
import { type HeldOutRows, meanLoss } from '../evaluate/loss.js';
import { JsonlWriter, truncateJsonlAfter } from '../formats/jsonl.js';
import { toDevice } from '../model/batch.js';
import type { Decoder } from '../model/decoder.js';
import type { StageRun } from '../run/context.js';
import type { StageContext } from '../run/stage.js';
import { testPoint } from '../run/test-point.js';
import * as torch from '../torch/index.js';
import { lossAndGradients } from './backward.js';
import { type Counters, loadCheckpoint, saveCheckpoint } from './checkpoint.js';
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
  /** Mean training loss of the last window of steps, at most 50. */
  loss: number;
  /** Held-out loss after the last step. */
  heldOutLoss: number | null;
}

/** Steps over which the training loss is averaged for display and in the result. */
const WINDOW = 50;

/** Runs a training to its end, from its newest checkpoint where there is one. */
export async function train(
  training: Training,
  stage: StageContext,
  context: StageRun,
): Promise<TrainingResult> {
  return new Trainer(training, stage, context).run();
}

class Trainer {
  private readonly optimizer: Optimizer;
  private readonly metrics: JsonlWriter;
  private readonly checkpointFolder: string;
  private counters: Counters = { step: 0, tokens: 0, seconds: 0 };
  private recent: number[] = [];
  private heldOutLoss: number | null = null;
  private lastCheckpoint = performance.now();
  /** Of this attempt, for the ledger. */
  private readonly spent = { trainSeconds: 0, evaluateSeconds: 0, checkpointSeconds: 0, tokens: 0, steps: 0 };

  constructor(
    private readonly training: Training,
    private readonly stage: StageContext,
    private readonly context: StageRun,
  ) {
    this.optimizer = new AdamW(training.model.store, training.optimizer);
    this.checkpointFolder = stage.path('checkpoints');
    this.metrics = new JsonlWriter(stage.path('metrics.jsonl'));
  }

  async run(): Promise<TrainingResult> {
    const { steps, heldOut } = this.training;
    try {
      await this.start();
      while (this.counters.step < steps) {
        await this.step();
        const { step } = this.counters;
        if (heldOut !== null && (step % heldOut.every === 0 || step === steps))
          await this.evaluate(heldOut.rows);
        if (this.checkpointDue()) await this.checkpoint();
      }
      await testPoint(`after-training:${this.training.stage}`);
      return { ...this.counters, loss: this.smoothedLoss(), heldOutLoss: this.heldOutLoss };
    } finally {
      this.record();
      this.metrics.close();
    }
  }

  private async start(): Promise<void> {
    const { reporter } = this.context;
    const { stage, model, steps, heldOut } = this.training;
    const found = await loadCheckpoint(this.checkpointFolder, model.store, (text) => reporter.say(text));
    const step = found?.step ?? 0;
    truncateJsonlAfter(this.stage.path('metrics.jsonl'), (entry, line) => this.stepOf(entry, line) <= step);
    if (found !== null) {
      this.counters = found;
      reporter.say(`${stage}: continues after step ${step} of ${steps}`);
      return;
    }
    this.training.initialise();
    if (this.training.model.store.step !== 0) throw new Error('a training begins with fresh moments');
    truncateJsonlAfter(this.stage.path('metrics.jsonl'), () => false);
    if (heldOut !== null) await this.evaluate(heldOut.rows);
  }

  /** The step of a line of metrics.jsonl. */
  private stepOf(entry: unknown, line: number): number {
    const step = (entry as { step?: unknown } | null)?.step;
    if (typeof step === 'number') return step;
    throw new DataError('A line of the metrics is damaged.', {
      file: this.stage.path('metrics.jsonl'),
      key: `line ${line}`,
      expected: 'a JSON object with a step',
      found: JSON.stringify(entry).slice(0, 80),
      hint: `bring the file back, or remove the folder ${this.stage.folder} to train this stage anew`,
    });
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
      await this.turn();
      const rows = source.rows(step, first, Math.min(microBatch, batchSize - first));
      const result = torch.scope(() =>
        lossAndGradients(model, toDevice(rows, model.store.device), {
          globalTargets,
          balanceScale: 1 / microBatches,
          mode: backward,
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
    this.recent = [...this.recent.slice(1 - WINDOW), loss];
    this.metrics.append({
      step: step + 1,
      loss,
      tokens: this.counters.tokens,
      seconds: this.counters.seconds,
      learningRate,
      gradNorm: gradientNorm,
      tokensPerSecond: tokens / seconds,
      ...(balance === null ? {} : { balanceLoss: balance }),
      ...(expertTokens.length === 0 ? {} : { expertTokens }),
    });
    this.showProgress(tokens / seconds);
  }

  private async evaluate(rows: HeldOutRows): Promise<void> {
    const began = performance.now();
    const { loss, targets } = await meanLoss(this.training.model, rows, {
      batchRows: this.training.microBatch,
      onBatch: () => this.stopIfAsked(),
    }).catch((error: unknown) => {
      // Evaluation changes nothing: what it interrupted is kept by the caller's checkpoint.
      if (error instanceof StopAsked) return this.saveAndStop();
      throw error;
    });
    const seconds = (performance.now() - began) / 1000;
    this.spent.evaluateSeconds += seconds;
    if (!Number.isFinite(loss)) this.diverged(`the held-out loss is ${loss}`, this.counters.step);
    this.heldOutLoss = loss;
    this.metrics.append({
      step: this.counters.step,
      heldOutLoss: loss,
      heldOutTokens: targets,
      tokens: this.counters.tokens,
      seconds: this.counters.seconds,
      evaluationSeconds: seconds,
    });
  }

  private checkpointDue(): boolean {
    const { checkpointMinutes, checkpointSteps, steps } = this.training;
    const { step } = this.counters;
    if (step === steps) return true;
    if (checkpointSteps !== null && step % checkpointSteps === 0) return true;
    return performance.now() - this.lastCheckpoint >= checkpointMinutes * 60_000;
  }

  private async checkpoint(): Promise<void> {
    const began = performance.now();
    this.metrics.sync();
    await saveCheckpoint(this.checkpointFolder, this.training.model.store, this.counters, () =>
      this.stage.assertOwned(),
    );
    this.lastCheckpoint = performance.now();
    this.spent.checkpointSeconds += (this.lastCheckpoint - began) / 1000;
    this.record();
  }

  /** Lets the event loop turn and ends the training when that was asked for. */
  private async turn(): Promise<void> {
    await turn();
    if (this.context.stop.requested) await this.saveAndStop();
  }

  private stopIfAsked(): void {
    if (this.context.stop.requested) throw new StopAsked();
  }

  private async saveAndStop(): Promise<never> {
    const { stage, steps } = this.training;
    // A checkpoint of step 0 would be the initial weights, which follow from the recipe.
    if (this.counters.step > 0) await this.checkpoint();
    throw new StoppedError(
      `${stage}: stopped (${this.context.stop.reason}) and saved after step ${this.counters.step} of ${steps}.`,
      { hint: 'run the same command again to continue' },
    );
  }

  /** @param step the step, from 1, at which it showed: the one under way, or the last one before an evaluation */
  private diverged(what: string, step = this.counters.step + 1): never {
    const { stage, source, batchSize, schedule } = this.training;
    const row = Math.max(0, step - 1) * batchSize;
    throw new NumericError(
      `${stage}: training diverged at step ${step}: ${what}. The last good checkpoint is kept.`,
      {
        file: this.stage.folder,
        key: `step ${step}, rows ${row} to ${row + batchSize - 1} of the data order, epoch ${Math.floor(row / source.rowsPerEpoch)}`,
        expected: 'a finite number',
        hint: `a lower learning rate than ${schedule.learningRate}, or a longer warm-up; moe-disco fork keeps what is finished`,
      },
    );
  }

  private smoothedLoss(): number {
    return this.recent.reduce((sum, loss) => sum + loss, 0) / Math.max(1, this.recent.length);
  }

  private showProgress(tokensPerSecond: number): void {
    const { stage, steps } = this.training;
    const { step } = this.counters;
    const perStep = this.spent.trainSeconds / this.spent.steps;
    const dollarsPerSecond = this.context.recipe.cost.machineDollarsPerHour / 3600;
    this.context.reporter.progress({
      stage,
      step,
      steps,
      loss: this.smoothedLoss(),
      ...(this.heldOutLoss === null ? {} : { heldOutLoss: this.heldOutLoss }),
      tokensPerSecond,
      secondsLeft: perStep * (steps - step),
      dollars: this.counters.seconds * dollarsPerSecond,
    });
  }

  /** Running totals of this attempt. */
  private record(): void {
    const { batchSize, sequenceLength, model } = this.training;
    const flops = trainingFlops(model.config, { steps: this.spent.steps, batchSize, sequenceLength });
    this.stage.ledger.append({ ...this.spent, flops });
  }
}

/** Leaves an evaluation that is under way. */
class StopAsked extends Error {}

function addCounts(a: number[][], b: number[][]): number[][] {
  return b.map((layer, i) => layer.map((count, j) => count + (a[i]?.[j] ?? 0)));
}

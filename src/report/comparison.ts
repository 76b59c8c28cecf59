/**
 * The comparison of the two ways, as a pure function of what was measured. What was measured and what is
 * projected stand in different parts and never in one number.
 */
import { flopsPerToken } from '../cost/flops.js';
import { type Projection, project } from '../cost/projection.js';
import type { DocumentLoss, Evaluation, SplitLoss } from '../evaluate/types.js';
import type { ModelConfig } from '../model/config.js';
import { countParameters } from '../model/parameters.js';
import type { Recipe } from '../recipe/schema.js';
import { type Interval, pairedBootstrap } from './bootstrap.js';
import { type Curve, type Point, type Reach, smoothed, stepsToTarget } from './curves.js';
import { leftOut, verdict } from './verdict.js';

/** What one training did and used, over all its attempts. */
export interface TrainingRecord {
  steps: number;
  /** Wall-clock seconds of its process over all attempts, without held-out losses on the way. */
  seconds: number;
  device: string;
  curve: Curve;
}

/** Everything that the comparison is made from. */
export interface ComparisonInput {
  /** Name of the run. */
  run: string;
  /** Hash of everything that the compared results depend on. */
  id: string;
  recipe: Recipe;
  config: ModelConfig;
  /** The seed phase, or null where there is none. */
  seed: TrainingRecord | null;
  submodels: readonly TrainingRecord[];
  finetune: TrainingRecord;
  baseline: TrainingRecord;
  /** Seconds of the stages that only the MoE-DisCo way has. */
  extraSeconds: { partition: number; merge: number };
  evaluation: Evaluation;
}

/** What some part of a way used. */
export interface Totals {
  steps: number;
  /** Positions computed, padding included. */
  tokens: number;
  flops: number;
  seconds: number;
  dollars: number;
}

/** Steps of both arms to one target. */
export interface TargetRow {
  /** Nats above the baseline's final loss. */
  delta: number;
  finetune: Reach;
  baseline: Reach;
  /** FLOPs of seed phase, S-phase and counted F-steps over those of the counted baseline steps; null unless both reach it. */
  totalFlopsRatio: number | null;
}

/** Content of comparison.json. */
export interface Comparison {
  format: 1;
  id: string;
  run: string;
  setup: {
    experts: number;
    topK: number;
    partition: string;
    gamma: string;
    average: string;
    seed: number;
    parameters: number;
    activeParameters: number;
    batchSize: number;
    sequenceLength: number;
    precision: string;
    /** Where both ways start from: `scratch`, `folder` or `dense`. */
    start: string;
    devices: string[];
  };
  /** Losses on the whole validation split. */
  validation: { model: string; loss: number; perplexity: number }[];
  bigram: { loss: number; perplexity: number };
  /** In the shape of Table 1: steps, smoothed training loss, validation perplexity. */
  table1: {
    fullParameter: { steps: number; loss: number | null; perplexity: number };
    disco: { steps: number | null; horizon: number; loss: number | null; perplexity: number };
  };
  /** In the shape of Table 6. */
  table6: { maxSteps: number; maxSeconds: number };
  submodels: { steps: number; seconds: number; loss: number | null }[];
  targets: {
    /** First validation tokens that both curves are measured on. */
    heldOutTokens: number;
    everySteps: number;
    validation: TargetRow[];
    /** Mean of so many steps; null where a training has no step. */
    window: number | null;
    training: TargetRow | null;
  };
  test: { finetuned: SplitLoss; baseline: SplitLoss; difference: Interval };
  validationDifference: Interval;
  /** Measured: everything at one and the same rate for the machine that ran it. */
  measured: {
    dollarsPerHour: number;
    extra: Totals;
    /** Where there is a seed phase. */
    seed?: Totals;
    submodels: Totals;
    finetune: Totals;
    disco: Totals;
    fullParameter: Totals;
  };
  projection: Projection;
  verdict: string[];
  leavesOut: string[];
}

/** Training loss is smoothed over so many steps, as in Table 1, or fewer where a training is shorter. */
const WINDOW = 50;
const DELTAS = [0, 0.02, 0.05];

function add(...parts: readonly Totals[]): Totals {
  const sum = { steps: 0, tokens: 0, flops: 0, seconds: 0, dollars: 0 };
  for (const part of parts) for (const key of Object.keys(sum) as (keyof Totals)[]) sum[key] += part[key];
  return sum;
}

const last = (points: readonly Point[]): number | null => points.at(-1)?.loss ?? null;

/** Both arms against the baseline's final loss on one kind of curve. */
function targetRow(
  delta: number,
  curves: { finetune: readonly Point[]; baseline: readonly Point[] },
  input: ComparisonInput,
  flops: { before: number; step: number },
): TargetRow | null {
  const final = last(curves.baseline);
  if (final === null) return null;
  const reach = (arm: 'finetune' | 'baseline') =>
    stepsToTarget([{ horizon: input[arm].steps, points: curves[arm] }], final + delta);
  const finetune = reach('finetune');
  const baseline = reach('baseline');
  const both = finetune.steps !== null && baseline.steps !== null && baseline.steps > 0;
  return {
    delta,
    finetune,
    baseline,
    totalFlopsRatio: both
      ? (flops.before + finetune.steps! * flops.step) / (baseline.steps! * flops.step)
      : null,
  };
}

function differenceOf(
  documents: { finetuned: DocumentLoss[]; baseline: DocumentLoss[] },
  seed: number,
): Interval {
  return pairedBootstrap(documents.finetuned, documents.baseline, { seed });
}

function measure(input: ComparisonInput, projection: Projection): Comparison['measured'] {
  const { recipe, seed, submodels, finetune, baseline, extraSeconds } = input;
  const rate = recipe.cost.machineDollarsPerHour;
  const perStep = recipe.train.batchSize * recipe.corpus.sequenceLength;
  const totals = (steps: number, flops: number, seconds: number): Totals => ({
    steps,
    tokens: steps * perStep,
    flops,
    seconds,
    dollars: (seconds / 3600) * rate,
  });
  const parts: Pick<Comparison['measured'], 'extra' | 'seed' | 'submodels' | 'finetune'> = {
    extra: totals(0, 0, extraSeconds.partition + extraSeconds.merge),
    ...(seed === null ? {} : { seed: totals(seed.steps, projection.flops.seed ?? 0, seed.seconds) }),
    submodels: add(
      ...submodels.map((one, k) => totals(one.steps, projection.flops.submodels[k] ?? 0, one.seconds)),
    ),
    finetune: totals(finetune.steps, projection.flops.finetune, finetune.seconds),
  };
  return {
    dollarsPerHour: rate,
    ...parts,
    disco: add(...Object.values(parts)),
    fullParameter: totals(baseline.steps, projection.flops.baseline, baseline.seconds),
  };
}

/**
 * Compares the two ways.
 * @throws DataError when the evaluation's documents cannot be paired
 */
export function compare(input: ComparisonInput): Comparison {
  const { recipe, config, seed, submodels, finetune, baseline, evaluation } = input;
  const { batchSize } = recipe.train;
  const { sequenceLength } = recipe.corpus;
  const projection = project(
    {
      config,
      precision: recipe.train.precision,
      batchSize,
      sequenceLength,
      ...(seed === null ? {} : { seed: { steps: seed.steps, model: recipe.train.seed.model } }),
      submodelSteps: submodels.map(({ steps }) => steps),
      finetuneSteps: finetune.steps,
      baselineSteps: baseline.steps,
    },
    recipe.cost.cheapCard,
    recipe.cost.largeCard,
  );
  const measured = measure(input, projection);
  const flops = {
    before: (measured.seed?.flops ?? 0) + measured.submodels.flops,
    step: batchSize * sequenceLength * flopsPerToken(config, sequenceLength),
  };
  const shortest = Math.min(finetune.curve.training.length, baseline.curve.training.length);
  const window = shortest === 0 ? null : Math.min(WINDOW, shortest);
  const smooth = (curve: Curve) => (window === null ? [] : smoothed(curve.training, window));
  const training = { finetune: smooth(finetune.curve), baseline: smooth(baseline.curve) };
  const heldOut = { finetune: finetune.curve.heldOut, baseline: baseline.curve.heldOut };
  const rows = DELTAS.map((delta) => targetRow(delta, heldOut, input, flops)).filter((row) => row !== null);

  const finetuned = evaluation.models.finetuned?.validation ?? evaluation.test.finetuned;
  const full = evaluation.models.baseline?.validation ?? evaluation.test.baseline;
  const reached = rows[0]?.finetune ?? null;
  const counts = countParameters(config);
  const precision = recipe.train.precision;
  const comparison: Omit<Comparison, 'verdict' | 'leavesOut'> = {
    format: 1,
    id: input.id,
    run: input.run,
    setup: {
      experts: config.numExperts,
      topK: config.numExpertsPerTok,
      partition: recipe.partition.method,
      gamma: Array.isArray(recipe.merge.gamma) ? recipe.merge.gamma.join(', ') : recipe.merge.gamma,
      average: recipe.merge.average,
      seed: recipe.seed,
      parameters: counts.total,
      activeParameters: counts.active,
      batchSize,
      sequenceLength,
      precision: precision.weights,
      start: recipe.init.from,
      devices: [
        ...new Set([...(seed ? [seed] : []), ...submodels, finetune, baseline].map(({ device }) => device)),
      ],
    },
    validation: Object.entries(evaluation.models).map(([model, { validation }]) => ({
      model,
      loss: validation.loss,
      perplexity: validation.perplexity,
    })),
    bigram: evaluation.bigram.validation,
    table1: {
      fullParameter: {
        steps: baseline.steps,
        loss: last(training.baseline),
        perplexity: Math.exp(last(heldOut.baseline) ?? full.loss),
      },
      disco: {
        steps: reached?.steps ?? null,
        horizon: finetune.steps,
        loss: training.finetune.findLast(({ step }) => step <= (reached?.steps ?? Infinity))?.loss ?? null,
        perplexity: Math.exp(reached?.loss ?? last(heldOut.finetune) ?? finetuned.loss),
      },
    },
    table6: {
      maxSteps: Math.max(0, ...submodels.map(({ steps }) => steps)),
      maxSeconds: Math.max(0, ...submodels.map(({ seconds }) => seconds)),
    },
    submodels: submodels.map(({ steps, seconds, curve }) => ({
      steps,
      seconds,
      loss: last(smoothed(curve.training, Math.max(1, Math.min(WINDOW, curve.training.length)))),
    })),
    targets: {
      heldOutTokens: Math.min(recipe.train.evaluateTokens, full.tokens),
      everySteps: recipe.train.evaluateEvery,
      validation: rows,
      window,
      training: targetRow(0, training, input, flops),
    },
    test: { ...evaluation.test, difference: differenceOf(evaluation.perDocument.test, recipe.seed) },
    validationDifference: differenceOf(evaluation.perDocument.validation, recipe.seed),
    measured,
    projection,
  };
  return { ...comparison, verdict: verdict(comparison), leavesOut: leftOut(comparison) };
}

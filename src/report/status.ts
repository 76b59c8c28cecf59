/** How far a run is and what it costs: a view over its stages' manifests, ledgers and metrics. Changes nothing. */
import { join } from 'node:path';
import { trainingFlops } from '../cost/flops.js';
import { readJsonl } from '../formats/jsonl.js';
import { parseModelConfig, submodelConfig } from '../model/config.js';
import { hasSeedPhase, submodelCount } from '../recipe/check.js';
import type { Recipe } from '../recipe/schema.js';
import type { RunFolder } from '../run/folder.js';
import { readLedger, sumLedger } from '../run/ledger.js';
import { runStatus, type StageStatus } from '../run/views.js';
import type { Section } from './layout.js';
import { count, large, money, nats, time } from './words.js';

/** One stage of the run, begun or not. What is not known is null. */
interface StageProgress {
  stage: string;
  /** waiting: not begun. unfinished: begun, and nobody works on it now. */
  state: StageStatus['state'] | 'waiting';
  attempts: number;
  /** `PID on HOST`, of a stage that is running. */
  holder: string | null;
  /** The run that it is taken over from. */
  refersTo: string | null;
  step: number | null;
  steps: number | null;
  /** Mean training loss of the last steps, at most 50, and the last held-out loss; nats per token. */
  loss: number | null;
  heldOutLoss: number | null;
  tokensPerSecond: number | null;
  /** Of optimizer steps still to be done. */
  secondsLeft: number | null;
  /** Billed seconds of all attempts, and dollars for them; none for what another run has paid. */
  seconds: number;
  dollars: number;
}

export interface RunProgress {
  run: string;
  stages: StageProgress[];
  dollars: number;
  /** Dollars when all trainings are done, at the speed so far; null before any has a speed. */
  expectedDollars: number | null;
}

/** A training's length and work, by the recipe. */
interface Length {
  /** null: in epochs, which depends on the clusters. */
  steps: number | null;
  flopsPerStep: number;
}

function lengthsOf(recipe: Recipe): Map<string, Length> {
  const { train, corpus } = recipe;
  const config = parseModelConfig(recipe.model.config, 'recipe.yaml');
  const step = { steps: 1, batchSize: train.batchSize, sequenceLength: corpus.sequenceLength };
  const whole = trainingFlops(config, step);
  const submodel = {
    steps: train.submodels.steps,
    flopsPerStep: trainingFlops(submodelConfig(config), step),
  };
  return new Map<string, Length>([
    ...Array.from({ length: submodelCount(recipe) }, (_, k) => [`submodels/${k}`, submodel] as const),
    ['finetuned', { steps: train.finetune.steps, flopsPerStep: whole }],
    ['baseline', { steps: train.baseline.steps, flopsPerStep: whole }],
  ]);
}

/** Steps over which loss and speed are taken. */
const RECENT = 50;

/** What the last lines of a training's metrics say. */
function lastOf(folder: string): Pick<StageProgress, 'step' | 'loss' | 'heldOutLoss' | 'tokensPerSecond'> & {
  secondsPerStep: number | null;
} {
  const lines = readJsonl(join(folder, 'metrics.jsonl')) as Record<string, unknown>[];
  const number = (line: Record<string, unknown> | undefined, key: string): number | null => {
    const value = line?.[key];
    return typeof value === 'number' ? value : null;
  };
  const steps = lines.filter((line) => typeof line.loss === 'number');
  const recent = steps.slice(-RECENT);
  const [first, last] = [recent[0], recent.at(-1)];
  const passed = (key: string) => (number(last, key) ?? 0) - (number(first, key) ?? 0);
  const [seconds, done] = [passed('seconds'), passed('step')];
  return {
    step: number(last, 'step'),
    loss:
      recent.length === 0
        ? null
        : recent.reduce((sum, line) => sum + number(line, 'loss')!, 0) / recent.length,
    heldOutLoss: number(
      lines.findLast((line) => typeof line.heldOutLoss === 'number'),
      'heldOutLoss',
    ),
    tokensPerSecond: seconds > 0 ? passed('tokens') / seconds : number(last, 'tokensPerSecond'),
    secondsPerStep: done > 0 ? seconds / done : number(last, 'seconds'),
  };
}

/** Stages that every run has, in the order of Algorithm 1, with those that this one has begun besides. */
function stagesOf(recipe: Recipe, begun: readonly StageStatus[]): string[] {
  const submodels = Array.from({ length: submodelCount(recipe) }, (_, k) => `submodels/${k}`);
  const seed = hasSeedPhase(recipe) ? ['seed'] : [];
  const all = ['corpus', 'partition', 'init', ...seed, ...submodels, 'merged', 'finetuned', 'baseline'];
  const known = new Set([...all, 'evaluation', 'comparison']);
  const extra = begun.map(({ stage }) => stage).filter((stage) => !known.has(stage));
  return ['corpus', 'partition', 'init', ...extra, ...[...known].slice(3)];
}

/**
 * The state of a run: every stage with its steps, losses, speed, time left and dollars.
 *
 * @throws DataError for a damaged ledger, manifest or metrics file
 */
export function runProgress(run: RunFolder, recipe: Recipe): RunProgress {
  const begun = runStatus(run);
  const lengths = lengthsOf(recipe);
  const perSecond = recipe.cost.machineDollarsPerHour / 3600;
  // FLOPs and seconds of all trained steps: the speed that the others are expected to have.
  let [flops, trained] = [0, 0];
  const stages = stagesOf(recipe, begun).map((stage): StageProgress & { flopsLeft: number } => {
    const status = begun.find((one) => one.stage === stage);
    const length = lengths.get(stage);
    const { folder, own } = run.stage(stage);
    const last = status !== undefined && length !== undefined ? lastOf(folder) : null;
    const steps = length?.steps ?? (status?.state === 'done' ? (last?.step ?? null) : null);
    const left = status?.state === 'done' || steps === null ? 0 : steps - (last?.step ?? 0);
    const seconds = folder === own ? (sumLedger(readLedger(own)).totals.seconds ?? 0) : 0;
    if (length !== undefined && last?.step != null && last.secondsPerStep !== null) {
      flops += last.step * length.flopsPerStep;
      trained += last.step * last.secondsPerStep;
    }
    const holder = status?.holder ?? null;
    return {
      stage,
      state: status?.state ?? 'waiting',
      attempts: status?.attempts ?? 0,
      holder: holder === null ? null : `${holder.pid} on ${holder.host}`,
      refersTo: status?.refersTo ?? null,
      step: last?.step ?? null,
      steps,
      loss: last?.loss ?? null,
      heldOutLoss: last?.heldOutLoss ?? null,
      tokensPerSecond: last?.tokensPerSecond ?? null,
      secondsLeft: last?.secondsPerStep == null || left === 0 ? null : left * last.secondsPerStep,
      seconds,
      dollars: seconds * perSecond,
      flopsLeft: length === undefined ? 0 : left * length.flopsPerStep,
    };
  });
  const dollars = stages.reduce((sum, stage) => sum + stage.dollars, 0);
  const flopsLeft = stages.reduce((sum, stage) => sum + stage.flopsLeft, 0);
  return {
    run: run.root,
    stages: stages.map(({ flopsLeft: _, ...stage }) => stage),
    dollars,
    expectedDollars: flops === 0 ? null : dollars + (flopsLeft / (flops / trained)) * perSecond,
  };
}

/** The state of a run as a table. */
export function statusSections({ run, stages, dollars, expectedDollars }: RunProgress): Section[] {
  const or = (value: number | null, text: (value: number) => string) => (value === null ? '' : text(value));
  const state = ({ state: word, holder, refersTo, attempts }: StageProgress) => {
    if (refersTo !== null) return 'done elsewhere';
    if (holder !== null) return `running (${holder})`;
    return word === 'unfinished' ? `stopped, attempt ${attempts}` : word;
  };
  const referred = stages.filter(({ refersTo }) => refersTo !== null);
  const expected =
    expectedDollars === null || stages.every(({ state: word }) => word === 'done')
      ? ''
      : `, about ${money(expectedDollars)} when all trainings are done at the speed so far`;
  return [
    {
      title: run,
      table: {
        head: ['stage', 'state', 'step', 'loss', 'held-out', 'tokens/s', 'left', 'billed', 'dollars'],
        rows: stages.map((stage) => [
          stage.stage,
          state(stage),
          stage.step === null ? '' : `${count(stage.step)}${or(stage.steps, (n) => `/${count(n)}`)}`,
          or(stage.loss, nats),
          or(stage.heldOutLoss, nats),
          or(stage.tokensPerSecond, large),
          or(stage.secondsLeft, time),
          stage.seconds === 0 ? '' : time(stage.seconds),
          stage.seconds === 0 ? '' : money(stage.dollars),
        ]),
      },
      notes: [
        `So far ${money(dollars)}${expected}.`,
        ...(referred.length === 0
          ? []
          : [
              `Done and paid elsewhere: ${[...new Set(referred.map(({ refersTo }) => refersTo))].join(', ')}.`,
            ]),
      ],
    },
  ];
}

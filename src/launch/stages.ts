/**
 * The stages of a run by the names of their folders, and how they are run. Stage modules are imported when they
 * are needed and not before: the process that supervises a run never loads libtorch.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BudgetedStop } from '../cost/budget.js';
import { RequestError, StoppedError } from '../errors.js';
import type { StageRun } from '../run/context.js';
import type { Done } from '../run/done.js';
import type { Losses, StageReporter } from './reporter.js';

/** A way of running stages: in this process, or in workers. */
export interface Stages {
  /** Runs one stage to its end, or finds it done. */
  run(stage: string): Promise<Done>;
  /** Runs stages that need nothing of one another, as many at once as there are devices. */
  runAll(stages: readonly string[]): Promise<Done[]>;
}

/** What a stage needs of the machine. */
interface StageEntry {
  /** Whether it computes with tensors, and so loads libtorch. */
  tensors: boolean;
  /** What it does, in words, for whoever watches. */
  what: string;
  load(): Promise<(context: StageRun) => Promise<Done>>;
}

const TABLE: Readonly<Record<string, StageEntry>> = {
  corpus: {
    tensors: false,
    what: 'reading the documents and turning them into tokens',
    load: async () => (await import('../corpus/stage.js')).buildCorpus,
  },
  partition: {
    tensors: true,
    what: 'grouping the training documents into one cluster for each expert',
    load: async () => (await import('../partition/stage.js')).partitionCorpus,
  },
  init: {
    tensors: true,
    what: 'fixing the initial weights that every training starts from',
    load: async () => (await import('../split/stage.js')).initialise,
  },
  seed: {
    tensors: true,
    what: 'training together for a while what every submodel then starts from',
    load: async () => (await import('../train/seed.js')).trainSeed,
  },
  merged: {
    tensors: true,
    what: 'joining the experts and averaging what the submodels share',
    load: async () => (await import('../merge/stage.js')).mergeSubmodels,
  },
  finetuned: {
    tensors: true,
    what: 'training the merged model briefly on all data',
    load: async () => (await import('../train/stage.js')).fineTune,
  },
  baseline: {
    tensors: true,
    what: 'for comparison: training the same model from the start on all data',
    load: async () => (await import('../train/stage.js')).trainBaseline,
  },
  evaluation: {
    tensors: true,
    what: 'measuring every model on text that none was trained on',
    load: async () => (await import('../evaluate/stage.js')).evaluateRun,
  },
  comparison: {
    tensors: false,
    what: 'comparing both ways: steps, tokens, seconds, dollars',
    load: async () => (await import('../report/stage.js')).compareRun,
  },
};

/** The name of the stage that trains submodel `k`. */
export function submodelStage(k: number): string {
  return `submodels/${k}`;
}

/**
 * The entry of a stage.
 * @throws RequestError for a name that is no stage's
 */
export function stageEntry(stage: string): StageEntry {
  const submodel = /^submodels\/(\d+)$/.exec(stage);
  if (submodel !== null) {
    const load = async () => {
      const { trainSubmodel } = await import('../train/stage.js');
      return (context: StageRun) => trainSubmodel(context, Number(submodel[1]));
    };
    return { tensors: true, what: `training a dense model with one expert on cluster ${submodel[1]}`, load };
  }
  const entry = Object.hasOwn(TABLE, stage) ? TABLE[stage] : undefined;
  if (entry !== undefined) return entry;
  throw new RequestError('There is no such stage.', {
    expected: `${Object.keys(TABLE).join(', ')} or submodels/K`,
    found: stage,
  });
}

/** Runs `stage` in this process. The one path by which stages are run, in workers and by commands. */
export async function runStageHere(stage: string, context: StageRun): Promise<Done> {
  refuseWhenStopped(context.stop, stage);
  const stop = new BudgetedStop(context, stage);
  if (!hasResult(context.run.root, stage)) stop.refuse();
  const work = await stageEntry(stage).load();
  try {
    return await work({ ...context, stop });
  } catch (error) {
    if (error instanceof StoppedError) stop.refuse(error);
    throw error;
  }
}

/** Whether a stage has a result, its own or another run's. */
function hasResult(folder: string, stage: string): boolean {
  return ['DONE', 'REFERS.json'].some((file) => existsSync(join(folder, stage, file)));
}

/** @throws StoppedError when a stop was requested before `stage` began */
export function refuseWhenStopped(stop: StageRun['stop'], stage: string): void {
  if (!stop.requested) return;
  throw new StoppedError(`Stopped (${stop.reason}) before ${stage}; what was done is kept.`, {
    hint: 'the same command again continues',
  });
}

/** Announces a stage that begins; one that has a result already is only told to be done. */
export function announce(folder: string, stage: string, reporter: StageReporter): void {
  const { what } = stageEntry(stage);
  if (!hasResult(folder, stage)) reporter.started(stage, what);
}

/** Seconds that a stage took, or null when it had been done before `since` (milliseconds of the epoch). */
export function secondsOf(done: Done, since: number): number | null {
  return Date.parse(done.finished) < since ? null : (Date.now() - since) / 1000;
}

/** The final losses that a training has put into its summary; nothing for other stages. */
export function lossesOf({ summary }: Done): Losses {
  const found = (typeof summary === 'object' ? summary : null) as Record<string, unknown> | null;
  const { loss, heldOutLoss } = found ?? {};
  return {
    ...(typeof loss === 'number' ? { loss } : {}),
    ...(typeof heldOutLoss === 'number' ? { heldOutLoss } : {}),
  };
}

/** Stages one after another in this process, for one-stage commands and for users of the library. */
export function inThisProcess(context: Omit<StageRun, 'reporter'>, reporter: StageReporter): Stages {
  const run = async (stage: string): Promise<Done> => {
    const since = Date.now();
    announce(context.run.root, stage, reporter);
    try {
      const done = await runStageHere(stage, { ...context, reporter });
      reporter.finished(stage, secondsOf(done, since), lossesOf(done));
      return done;
    } catch (error) {
      reporter.failed(stage);
      throw error;
    }
  };
  const runAll = async (stages: readonly string[]) => {
    const done: Done[] = [];
    for (const stage of stages) done.push(await run(stage));
    return done;
  };
  return { run, runAll };
}

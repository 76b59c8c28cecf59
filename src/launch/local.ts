/** Runs on this machine: a whole recipe, one stage, the submodels. What the commands call. */
import { resolve } from 'node:path';
import { planRecipe } from '../cost/plan.js';
import { disco } from '../disco.js';
import { RequestError } from '../errors.js';
import { hasSeedPhase, submodelCount } from '../recipe/check.js';
import type { Recipe } from '../recipe/schema.js';
import type { Done } from '../run/done.js';
import { threadsFor } from '../run/threads.js';
import { describeBuild, ensureEngine } from '../setup/index.js';
import { expertNumber } from './expert.js';
import { prepareThisProcess } from './process.js';
import { refuseTooSmall } from './room.js';
import { makeRun, openRun } from './run-recipe.js';
import type { Session } from './session.js';
import { inThisProcess, type Stages, stageEntry, submodelStage } from './stages.js';
import { inWorkers } from './supervisor.js';

/** A run as a whole, when it has come to its end. */
export interface FinishedRun {
  /** Absolute path of the run folder. */
  folder: string;
  comparison: Done;
}

/**
 * Runs Algorithm 1 and the comparison, or what is not done of them. The request is that of {@link makeRun}, and
 * the devices to use: one worker each, otherwise those of the recipe.
 * @throws RequestError before anything starts when the recipe cannot be used or `into` is another recipe's run
 */
export async function runRecipe(
  request: Parameters<typeof makeRun>[0] & { devices?: readonly string[] },
  session: Session,
): Promise<FinishedRun> {
  const { run, recipe } = makeRun(request, session.reporter.say, (wanted, folder) =>
    refuseTooSmall(planRecipe(wanted), folder, request.devices ?? wanted.execution.devices),
  );
  await prepareEngine(request.devices ?? recipe.execution.devices, session);
  const comparison = await withWorkers(run.root, recipe, request.devices, session, (stages) =>
    disco({ submodels: submodelCount(recipe), seed: hasSeedPhase(recipe) }, stages),
  );
  return { folder: run.root, comparison };
}

/** Runs one stage of a run in this process. */
export async function runOneStage(
  folder: string,
  stage: string,
  session: Session,
  device?: string,
): Promise<Done> {
  const { run, recipe } = openRun(folder);
  const chosen = device ?? recipe.execution.devices[0]!;
  if (stageEntry(stage).tensors) {
    await prepareEngine([chosen], session);
    prepareThisProcess(threadsFor(recipe.execution.threads, 1));
  }
  return inThisProcess({ run, recipe, stop: session.stop, device: chosen }, session.reporter).run(stage);
}

/**
 * Trains one submodel in this process, or, where neither the flag nor the environment numbers an expert, all of
 * them in workers.
 * @throws RequestError for a number that is no expert's
 */
export async function trainSubmodels(
  request: { folder: string; expert?: string; devices?: readonly string[] },
  session: Session,
): Promise<void> {
  const { recipe } = openRun(request.folder);
  const experts = submodelCount(recipe);
  const expert = expertNumber(request.expert, process.env, experts);
  if (expert !== null) {
    await runOneStage(request.folder, submodelStage(expert), session, request.devices?.[0]);
    return;
  }
  await prepareEngine(request.devices ?? recipe.execution.devices, session);
  const all = Array.from({ length: experts }, (_, k) => submodelStage(k));
  await withWorkers(request.folder, recipe, request.devices, session, (stages) => stages.runAll(all));
}

/**
 * Sets up the engine where that has not been done, and says when a GPU lies idle for want of another build.
 * @throws RequestError when a GPU is asked for and the build has none
 */
export async function prepareEngine(devices: readonly string[], { reporter }: Session): Promise<void> {
  const engine = await ensureEngine({ say: reporter.say });
  const { text, advice } = describeBuild(engine);
  const gpu = devices.find((device) => device !== 'cpu');
  if (gpu !== undefined && engine.build === 'cpu') {
    throw new RequestError('A GPU is asked for, but the engine is a CPU build.', {
      key: 'execution.devices',
      expected: 'cpu',
      found: `${gpu} with ${text}`,
      hint: 'moe-disco setup --device cuda',
    });
  }
  if (advice !== null) reporter.say(advice);
}

async function withWorkers<T>(
  folder: string,
  recipe: Recipe,
  devices: readonly string[] | undefined,
  session: Session,
  work: (stages: Stages) => Promise<T>,
): Promise<T> {
  const workers = inWorkers({
    folder: resolve(folder),
    devices: devices ?? recipe.execution.devices,
    threads: recipe.execution.threads,
    reporter: session.reporter,
    stop: session.stop,
  });
  session.onAbandon(() => workers.abandon());
  try {
    return await work(workers);
  } finally {
    await workers.close();
  }
}

/** What `evaluate` does beside the stage: tasks of the evaluation harness, and every stage on every cluster. */
import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { RequestError } from '../errors.js';
import { EvalData } from '../evaluate/data/eval-data.js';
import { readTasks, type TaskSelection } from '../evaluate/harness/ask.js';
import { type NamedResults, resultTable } from '../evaluate/harness/table.js';
import type { MatrixRequest } from '../evaluate/stages/matrix.js';
import { matrixSections } from '../evaluate/stages/table.js';
import { writeJson } from '../formats/atomic.js';
import { findModel } from '../generate/find-model.js';
import type { Section } from '../report/layout.js';
import { requireFiles } from '../run/require.js';
import { threadsFor } from '../run/threads.js';
import { prepareEngine } from './local.js';
import { prepareThisProcess } from './process.js';
import { openRun } from './run-recipe.js';
import type { Session } from './session.js';
import { PACKAGE_ROOT, packageVersion } from './shipped.js';

/** The harness's seed for the choice of examples. */
export const FEWSHOT_SEED = 1234;
/** The models that a run ends with. */
export const FINAL_STAGES = ['finetuned', 'baseline'] as const;

/** What is asked of {@link evaluateTasks}. */
export interface TaskRequest {
  /** A run folder, or a Hugging Face folder. */
  target: string;
  selection: TaskSelection;
  /** Stages of the run whose models are evaluated. */
  stages: readonly string[];
  limit?: number | undefined;
  seed: number;
  /** A folder of data sets, looked at before those of the package. */
  data?: string | undefined;
  /** Where results go; otherwise evaluation/tasks in the run, or FOLDER-evaluation. */
  into?: string | undefined;
  bootstrap?: number | undefined;
  device?: string | undefined;
}

/** What came of it. */
export interface TaskReport {
  table: Section;
  /** Folder of the results. */
  into: string;
}

/**
 * Evaluates models on tasks, one after another; what is done already is not done again.
 *
 * @throws RequestError, DataError for models, tasks or data that cannot be used; StoppedError when asked to stop
 */
export async function evaluateTasks(request: TaskRequest, session: Session): Promise<TaskReport> {
  const { models, into, device, threads } = modelsOf(request);
  await prepareEngine([device], session);
  prepareThisProcess(threadsFor(threads, 1));
  const { evaluateFolder } = await import('../evaluate/harness/evaluate-folder.js');
  const { selection, limit, seed, data, bootstrap } = request;
  const shipped = join(PACKAGE_ROOT, 'data', 'eval');
  const files = new EvalData(data === undefined ? [shipped] : [data, shipped]);
  const results: NamedResults[] = [];
  for (const { name, folder, into: place } of models) {
    if (models.length > 1) session.reporter.say(`${name}: ${folder}`);
    const found = await evaluateFolder({
      folder,
      into: place,
      selection,
      data: files,
      limit,
      seed,
      bootstrap,
      device,
      program: packageVersion(),
      reporter: session.reporter,
      stop: session.stop,
    });
    results.push({ name, results: found });
  }
  return { table: resultTable(selection, results), into };
}

/** Evaluates what the run's recipe names in `evaluation.tasks`; null where it names nothing. */
export async function evaluateRecipeTasks(
  target: string,
  device: string | undefined,
  session: Session,
): Promise<TaskReport | null> {
  const { tasks, limit } = openRun(target).recipe.evaluation;
  if (tasks.length === 0) return null;
  const selection = readTasks(tasks, 0);
  const request = { target, selection, stages: FINAL_STAGES, seed: FEWSHOT_SEED, limit: limit ?? undefined };
  return evaluateTasks({ ...request, device }, session);
}

/**
 * Measures every stage of a run on the held-out documents of every cluster and writes evaluation/matrix.json.
 *
 * @param request windows of the recipe's sequence length one after another where it says nothing else
 * @throws RequestError where the run is not finished; StoppedError when asked to stop
 */
export async function evaluateMatrix(
  target: string,
  request: Partial<MatrixRequest> & { device?: string | undefined },
  session: Session,
): Promise<{ sections: Section[]; file: string }> {
  const { run, recipe } = openRun(target);
  const { device = recipe.execution.devices[0]!, ...given } = request;
  const window = given.window ?? recipe.corpus.sequenceLength;
  const wanted = {
    split: 'validation' as const,
    temperature: 0.1,
    ...given,
    window,
    stride: given.stride ?? window,
  };
  if (wanted.stride > window) {
    throw new RequestError('Windows that move on by more than their length leave tokens out.', {
      key: '--stride',
      expected: `at most ${window}`,
      found: String(wanted.stride),
    });
  }
  await prepareEngine([device], session);
  prepareThisProcess(threadsFor(recipe.execution.threads, 1));
  const { stageMatrix } = await import('../evaluate/stages/matrix.js');
  const matrix = await stageMatrix(
    { run, recipe, device, reporter: session.reporter, stop: session.stop },
    wanted,
  );
  const file = run.path('evaluation', 'matrix.json');
  writeJson(file, matrix);
  return { sections: matrixSections(matrix), file };
}

/** The model folders that are meant, where the results of each go, and what computes. */
function modelsOf({ target, stages, into, device }: TaskRequest): {
  models: { name: string; folder: string; into: string }[];
  into: string;
  device: string;
  threads: number | null;
} {
  if (!existsSync(join(target, 'recipe.yaml'))) {
    const folder = findModel(target);
    const place = resolve(into ?? `${resolve(target)}-evaluation`);
    const name = basename(resolve(target));
    return { models: [{ name, folder, into: place }], into: place, device: device ?? 'cpu', threads: null };
  }
  const { run, recipe } = openRun(target);
  const place = resolve(into ?? run.path('evaluation', 'tasks'));
  const models = stages.map((stage) => {
    if (!/^(seed|merged|finetuned|baseline|submodels\/\d+)$/.test(stage)) {
      throw new RequestError('This stage does not end with a model.', {
        key: '--stages',
        expected: 'finetuned, baseline, merged, seed or submodels/K, with commas',
        found: stage,
      });
    }
    requireFiles(run, stage);
    return { name: stage, folder: run.stageFolder(stage), into: join(place, stage.replace('/', '-')) };
  });
  const { devices, threads } = recipe.execution;
  return { models, into: place, device: device ?? devices[0]!, threads };
}

/** Tasks of the evaluation harness over the models of a run or over a model folder. Nothing is downloaded. */
import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { RequestError } from '../errors.js';
import { EvalData } from '../evaluate/data/eval-data.js';
import type { TaskSelection } from '../evaluate/harness/ask.js';
import { type NamedResults, resultTable } from '../evaluate/harness/table.js';
import { findModel } from '../generate/find-model.js';
import type { Section } from '../report/layout.js';
import { requireFiles } from '../run/require.js';
import { threadsFor } from '../run/threads.js';
import { prepareEngine } from './local.js';
import { prepareThisProcess } from './process.js';
import { openRun } from './run-recipe.js';
import type { Session } from './session.js';
import { PACKAGE_ROOT, packageVersion } from './shipped.js';

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

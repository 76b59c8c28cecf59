/**
 * Tasks of the harness over one model. Each task's answers are kept in a file of their own, so that a stopped
 * evaluation goes on with the next task.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DataError, NumericError, StoppedError } from '../../errors.js';
import { readJson, writeJson } from '../../formats/atomic.js';
import { hashJson } from '../../formats/hash.js';
import { Decoder } from '../../model/decoder.js';
import { openModel } from '../../model/open.js';
import type { Reporter, StopSignal } from '../../run/context.js';
import { FolderLock } from '../../run/lock.js';
import type { EvalData } from '../data/eval-data.js';
import type { ScoreRequest } from '../score/bundles.js';
import { scoreRequests } from '../score/scorer.js';
import type { Score } from '../score/tokens.js';
import { makeQuestions, type Question } from '../tasks/prompts.js';
import { HARNESS_VERSION, type Task } from '../tasks/task.js';
import type { TaskSelection } from './ask.js';
import { measure, summarise } from './metrics.js';
import { folderWeightsHash } from './model-identity.js';
import { harnessResults, type ModelFacts } from './results.js';
import { type TaskResult, taskResultSchema } from './task-result.js';
import { HarnessTokenizer } from './tokenizer.js';

/** What to evaluate, and where to. */
export interface FolderEvaluation {
  /** A Hugging Face folder. */
  folder: string;
  /** Folder of the results. */
  into: string;
  selection: TaskSelection;
  data: EvalData;
  limit?: number | undefined;
  seed: number;
  /** Resamplings behind the standard error of a perplexity. */
  bootstrap?: number | undefined;
  device: string;
  /** Version of this program. */
  program: string;
  reporter: Reporter;
  stop: StopSignal;
}

/** Results of a model by task. */
export type TaskResults = ReadonlyMap<string, TaskResult>;

/**
 * Evaluates a model on tasks, or finds the results that are there already; writes results.json in the harness's
 * form beside them.
 *
 * @throws DataError, RequestError for a model, tokenizer or data set that cannot be used; StoppedError when asked to
 * stop, or when another process writes into the same folder; NumericError for a log-likelihood that is not finite
 */
export async function evaluateFolder(request: FolderEvaluation): Promise<TaskResults> {
  const { folder, into, selection, device } = request;
  mkdirSync(into, { recursive: true });
  const lock = FolderLock.acquire(into);
  try {
    const began = Date.now();
    const tokenizer = HarnessTokenizer.load(folder);
    const weights = await folderWeightsHash(folder);
    const store = openModel(folder, { device });
    try {
      const model = new Decoder(store);
      const facts: ModelFacts = {
        name: folder,
        weights,
        dtype: store.dtype,
        maxLength: store.config.maxPositionEmbeddings,
        vocabSize: store.config.vocabSize,
        tokenizer: { file: tokenizer.file, sha256: tokenizer.sha256, prefix: tokenizer.prefix },
      };
      const results = new Map<string, TaskResult>();
      for (const task of selection.tasks) {
        results.set(task.name, await evaluateTask(request, task, model, tokenizer, facts, lock));
      }
      const settings = {
        seed: request.seed,
        limit: request.limit ?? null,
        device,
        program: request.program,
        seconds: [...results.values()].reduce((sum, { seconds }) => sum + seconds, 0),
        date: Math.round(began / 1000),
      };
      const written = harnessResults(selection, results, facts, settings);
      writeJson(join(into, 'results.json'), written, () => lock.assertOwned());
      return results;
    } finally {
      store.dispose();
    }
  } finally {
    lock.release();
  }
}

async function evaluateTask(
  request: FolderEvaluation,
  task: Task,
  model: Decoder,
  tokenizer: HarnessTokenizer,
  facts: ModelFacts,
  lock: FolderLock,
): Promise<TaskResult> {
  const { data, limit, seed, reporter, stop, into, selection } = request;
  const shots = selection.shots.get(task.name)!;
  const began = performance.now();
  reporter.progress({ stage: task.name, note: 'reading questions' });
  const { questions, total, files } = await makeQuestions(task, data, { shots, limit, seed });
  const key = hashJson({
    harness: HARNESS_VERSION,
    task: task.name,
    version: task.version,
    shots,
    seed: shots > 0 ? seed : null,
    questions: questions.length,
    data: Object.values(files).sort(),
    weights: facts.weights,
    dtype: facts.dtype,
    maxLength: facts.maxLength,
    tokenizer: [tokenizer.sha256, tokenizer.prefix.id],
    bootstrap: request.bootstrap ?? null,
  });
  const file = join(into, `${task.name}.json`);
  const known = existsSync(file) ? taskResultSchema.safeParse(readJson(file)) : null;
  if (known?.success && known.data.key === key) {
    reporter.say(`${task.name}: was done already`);
    return known.data;
  }
  reporter.progress({ stage: task.name, note: `tokens of ${questions.length} questions` });
  const groups =
    task.output === 'loglikelihood_rolling'
      ? await tokenizer.windows(
          questions.map(({ continuations }) => continuations[0]!),
          facts.maxLength,
        )
      : await tokenizer.requests(questions);
  requireFit(groups, facts);
  const steps = groups.reduce((sum, group) => sum + group.length, 0);
  const scores = await scoreRequests(model, groups, {
    maxLength: facts.maxLength,
    onProgress: (step) => {
      reporter.progress({ stage: task.name, step, steps });
      if (!stop.requested) return;
      throw new StoppedError(`${task.name}: stopped (${stop.reason}); finished tasks are kept.`, {
        hint: 'the same command again goes on with this task',
      });
    },
  });
  const result = await resultOf(task, questions, groups, scores, request.bootstrap);
  const whole: TaskResult = {
    format: 1,
    key,
    task: task.name,
    version: task.version,
    shots,
    total,
    files,
    ...result,
    seconds: (performance.now() - began) / 1000,
  };
  writeJson(file, whole, () => lock.assertOwned());
  return whole;
}

/** Throws DataError where a continuation alone is longer than the model takes, or an id is not in its vocabulary. */
function requireFit(
  groups: readonly (readonly ScoreRequest[])[],
  { maxLength, vocabSize, tokenizer }: ModelFacts,
): void {
  for (const { context, continuation } of groups.flat()) {
    const largest = [...context, ...continuation].reduce((most, id) => Math.max(most, id), 0);
    if (largest >= vocabSize) {
      throw new DataError("The tokenizer gives ids outside the model's vocabulary.", {
        file: tokenizer.file,
        expected: `below ${vocabSize}`,
        found: String(largest),
      });
    }
    if (continuation.length > maxLength) {
      throw new DataError('An answer is longer than the model takes.', {
        file: tokenizer.file,
        expected: `at most ${maxLength} tokens`,
        found: String(continuation.length),
      });
    }
  }
}

/** Answers of each question and what they come to. */
async function resultOf(
  task: Task,
  questions: readonly Question[],
  groups: readonly (readonly unknown[])[],
  scores: readonly Score[],
  bootstrap: number | undefined,
): Promise<Pick<TaskResult, 'samples' | 'summaries'>> {
  let next = 0;
  const samples = questions.map((question, i): TaskResult['samples'][number] => {
    const own = scores.slice(next, next + groups[i]!.length);
    next += own.length;
    const whole = task.output === 'loglikelihood_rolling' ? [total(own)] : own;
    const broken = whole.find(({ logLikelihood }) => !Number.isFinite(logLikelihood));
    if (broken !== undefined) {
      throw new NumericError('A log-likelihood is not finite.', {
        key: `${task.name}, question ${question.document}`,
        expected: 'a finite number',
        found: String(broken.logLikelihood),
      });
    }
    const target = question.example.gold ?? question.continuations[0]!;
    return {
      document: question.document,
      target: task.output === 'loglikelihood_rolling' ? '' : target,
      scores: whole,
      measures: measure(task, question, whole),
    };
  });
  const summaries: TaskResult['summaries'] = {};
  for (const metric of task.metrics) {
    const measures = samples.map((sample) => sample.measures[metric]!);
    summaries[metric] = await summarise(metric, measures, bootstrap);
  }
  return { samples, summaries };
}

function total(scores: readonly Score[]): Score {
  return {
    logLikelihood: scores.reduce((sum, { logLikelihood }) => sum + logLikelihood, 0),
    greedy: scores.every(({ greedy }) => greedy),
  };
}

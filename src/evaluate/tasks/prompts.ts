/** Prompts: description, examples chosen as the harness chooses them, question. */
import { RequestError } from '../../errors.js';
import { hashJson } from '../../formats/hash.js';
import type { EvalData } from '../data/eval-data.js';
import type { Row } from '../data/rows.js';
import { PythonRandom } from '../python/random.js';
import type { Example, Task } from './task.js';

/** Between question and answer of an example, and before each choice. */
const BEFORE_ANSWER = ' ';
const AFTER_EXAMPLE = '\n\n';

/** One question of a task with everything that is asked of a model. */
export interface Question {
  /** Number of its row in the split. */
  document: number;
  example: Example;
  /** Everything before the continuation; empty where the text is scored as a whole. */
  context: string;
  /** What is scored: the choices with the blank before them, the one target, or the text. */
  continuations: readonly string[];
}

/** The questions of a task. */
interface Questions {
  questions: Question[];
  /** Rows of the split, of which `limit` may have left some. */
  total: number;
  /** Files read and their SHA-256. */
  files: Record<string, string>;
}

interface PromptOptions {
  /** Examples in each prompt. */
  shots: number;
  /** Only the first so many questions. */
  limit?: number | undefined;
  /** Seed of the examples' choice; the harness's default is 1234. */
  seed: number;
}

/**
 * The questions of a task with their prompts. Examples are drawn for one question after another by one generator, so
 * those of a question depend on how many came before it.
 *
 * @throws DataError where the data is not here or malformed; RequestError for more shots than there are examples
 */
export async function makeQuestions(
  task: Task,
  data: EvalData,
  { shots, limit, seed }: PromptOptions,
): Promise<Questions> {
  const { rows, files } = await data.split(task.set, task.test, task.subject);
  const rolling = task.output === 'loglikelihood_rolling';
  const pool = shots === 0 || rolling ? null : await data.split(task.set, task.shots.split, task.subject);
  const draw = pool === null ? () => [] : sampler(task, pool.rows, shots, seed);
  const questions = rows.slice(0, limit).map((row, document) => {
    const example = task.example(row);
    const examples = draw(row).map((shot) => shotText(task.example(shot)));
    const context = rolling ? '' : task.description + examples.join('') + example.text;
    const continuations = example.choices?.map((choice) => BEFORE_ANSWER + choice) ?? [example.target!];
    return { document, example, context, continuations };
  });
  return { questions, total: rows.length, files: { ...files, ...pool?.files } };
}

function shotText({ text, choices, gold, target }: Example): string {
  const answer = choices === undefined ? target! : choices[gold!]!;
  return text + BEFORE_ANSWER + answer + AFTER_EXAMPLE;
}

/** Draws the examples for one question after another. */
function sampler(task: Task, pool: readonly Row[], shots: number, seed: number): (question: Row) => Row[] {
  const { sampling } = task.shots;
  const needed = sampling === 'random-but-itself' ? shots + 1 : shots;
  if (needed > pool.length) {
    throw new RequestError(`${task.name} has fewer examples than shots were asked for.`, {
      key: '--shots',
      expected: `at most ${pool.length - (needed - shots)}`,
      found: String(shots),
    });
  }
  if (sampling === 'first') return () => pool.slice(0, shots);
  const random = new PythonRandom(seed);
  const pick = (from: readonly Row[], count: number): Row[] =>
    random.sample(from.length, count).map((i) => from[i]!);
  if (sampling === 'random') return () => pick(pool, shots);
  return (question) => {
    const self = hashJson(question.value);
    const isOther = (row: Row): boolean => hashJson(row.value) !== self;
    const drawn = pick(pool, needed).filter(isOther).slice(0, shots);
    return drawn.length < shots ? pick(pool.filter(isOther), shots) : drawn;
  };
}

/** What is measured of a question, how it is summed up over a task, and how sure that is. */
import { setImmediate } from 'node:timers/promises';
import { PythonRandom } from '../python/random.js';
import { countWords, length } from '../python/text.js';
import type { Score } from '../score/tokens.js';
import type { Question } from '../tasks/prompts.js';
import type { Metric, Task } from '../tasks/task.js';

/** A question's measure: a number, or a log-likelihood with the words or bytes that it is spread over. */
type Measure = number | [sum: number, weight: number];

/** Measures of one question. */
export type Measures = Partial<Record<Metric, Measure>>;

/** A task's value of a metric and its standard error, null where the harness gives none. */
export interface Summary {
  value: number;
  stderr: number | null;
}

/** Resamplings behind the standard error of a perplexity; the harness's number. */
const BOOTSTRAP_ITERATIONS = 100_000;
const CHUNK = 1000;

/** Number of the largest value, the first of equal ones. */
function argmax(values: readonly number[]): number {
  let best = 0;
  for (const [i, value] of values.entries()) if (value > values[best]!) best = i;
  return best;
}

/**
 * Measures of a question.
 *
 * `acc_norm` divides a choice's log-likelihood by its length in characters, without the blank before it.
 * @param scores of its continuations; for a text scored as a whole the sum over its windows
 */
export function measure(task: Task, { example }: Question, scores: readonly Score[]): Measures {
  const values = scores.map((score) => score.logLikelihood);
  const found: Measures = {};
  for (const metric of task.metrics) {
    if (task.output === 'multiple_choice') {
      const choices = example.choices!;
      const normed = metric === 'acc_norm' ? values.map((value, i) => value / length(choices[i]!)) : values;
      found[metric] = argmax(normed) === example.gold ? 1 : 0;
    } else if (task.output === 'loglikelihood') {
      found[metric] = metric === 'acc' ? Number(scores[0]!.greedy) : values[0]!;
    } else {
      // Words and bytes are those of the text before its tokenisation was undone.
      const original = example.original ?? example.target!;
      const weight = metric === 'word_perplexity' ? countWords(original) : Buffer.byteLength(original);
      found[metric] = [values[0]!, weight];
    }
  }
  return found;
}

/** The value of a metric over all questions, and its standard error. */
export async function summarise(
  metric: Metric,
  measures: readonly Measure[],
  iterations = BOOTSTRAP_ITERATIONS,
): Promise<Summary> {
  if (metric === 'acc' || metric === 'acc_norm') {
    const values = measures as number[];
    const stderr = values.length > 1 ? deviation(values) / Math.sqrt(values.length) : null;
    return { value: mean(values), stderr };
  }
  if (metric === 'perplexity') {
    const values = measures as number[];
    const stderr = values.length > 1 && iterations > 0 ? await bootstrap(values, iterations) : null;
    return { value: Math.exp(-mean(values)), stderr };
  }
  const pairs = measures as [number, number][];
  const perUnit =
    -pairs.reduce((sum, [part]) => sum + part, 0) / pairs.reduce((sum, [, part]) => sum + part, 0);
  return { value: metric === 'bits_per_byte' ? perUnit / Math.LN2 : Math.exp(perUnit), stderr: null };
}

/** The standard error of tasks put together, weighted by their sizes: that of the pooled variance. */
export function pooledError(parts: readonly { stderr: number; size: number }[]): number {
  const total = parts.reduce((sum, { size }) => sum + size, 0);
  const squares = parts.reduce((sum, { stderr, size }) => sum + (size - 1) * stderr ** 2 * size, 0);
  return Math.sqrt(squares / (total - parts.length) / total);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The sample's standard deviation, with n - 1. */
function deviation(values: readonly number[]): number {
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1));
}

/** The deviation of exp(-mean) over resamplings, a thousand at a time from one generator each, seeded 0, 1, ... */
async function bootstrap(values: readonly number[], iterations: number): Promise<number> {
  const found: number[] = [];
  const chunk = Math.min(CHUNK, iterations);
  const n = values.length;
  for (let seed = 0; seed < Math.floor(iterations / chunk); seed++) {
    const random = new PythonRandom(seed);
    for (let i = 0; i < chunk; i++) {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += values[Math.floor(random.random() * n)]!;
      found.push(Math.exp(-sum / n));
    }
    await setImmediate();
  }
  return deviation(found);
}

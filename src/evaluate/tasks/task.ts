/**
 * What a task is: where its questions come from, how a row becomes a prompt and its continuations, and what is
 * measured. The facts are those of lm-evaluation-harness 0.4.13; one small file for each task states them.
 */

import type { z } from 'zod';
import { DataError } from '../../errors.js';
import type { EvalSet, Split } from '../data/files.js';
import type { Row } from '../data/rows.js';

/** The version of the harness whose tasks these are. */
export const HARNESS_VERSION = '0.4.13';

/** One question, or one text. */
export interface Example {
  /** What stands before the continuation; empty for a text that is scored as a whole. */
  text: string;
  /** Multiple choice: the answers. */
  choices?: readonly string[];
  /** Multiple choice: which of them is right. */
  gold?: number;
  /** What is scored where there are no choices: the continuation, or the text itself. */
  target?: string;
  /** Rolling: the text as it was before it was changed, whose words and bytes are counted. */
  original?: string;
}

/** How examples are chosen for a prompt. */
type Sampling =
  /** `count` at random. */
  | 'random'
  /** One more than wanted at random, of which the question itself, or else the last one, is left out. */
  | 'random-but-itself'
  /** The first ones. */
  | 'first';

/** What is measured of a task; see metrics.ts. */
export type Metric =
  | 'acc'
  | 'acc_norm'
  | 'perplexity'
  | 'word_perplexity'
  | 'byte_perplexity'
  | 'bits_per_byte';

export interface Task {
  /** The harness's name. */
  name: string;
  /** The name in tables. */
  alias: string;
  version: number;
  output: 'multiple_choice' | 'loglikelihood' | 'loglikelihood_rolling';
  set: EvalSet;
  /** Only rows of this subject. */
  subject?: string;
  test: Split;
  /** Where examples for the prompt come from, and how. */
  shots: { split: Split; sampling: Sampling };
  /** Stands before everything else. */
  description: string;
  metrics: readonly Metric[];
  /** Accuracy of guessing: one over the number of choices; null where there is nothing to guess. */
  chance: number | null;
  example(row: Row): Example;
}

/** Tasks that are reported together, weighted by how many questions each has. */
export interface Group {
  name: string;
  alias: string;
  version: number;
  /** Names of tasks or of groups, in the order of tables. */
  members: readonly string[];
}

/**
 * A row's fields.
 * @throws DataError naming the row's place and the field that is missing or another
 */
export function fieldsOf<T>({ value, file, place }: Row, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new DataError('A row of the data set is not as it should be.', {
    file,
    key: [place, path.join('.')].filter(Boolean).join(', '),
    found: message,
  });
}

/** Which split a text belongs to where the corpus has no official ones. */
import { createHash } from 'node:crypto';
import type { Recipe } from '../recipe/schema.js';

export const SPLITS = ['train', 'validation', 'test'] as const;
export type Split = (typeof SPLITS)[number];

/** A number of [0, 1) that follows from the text alone: the first 48 bits of the SHA-256 of its UTF-8. */
export function textFraction(text: string): number {
  return createHash('sha256').update(text).digest().readUIntBE(0, 6) / 2 ** 48;
}

/**
 * The split of a training document, so that equal texts fall together. The shares lie side by side in [0, 1),
 * validation first; the share of a split with a source of its own stays in training.
 */
export function splitOf(
  text: string,
  corpus: Pick<Recipe['corpus'], 'validation' | 'test' | 'holdout'>,
): Split {
  if (corpus.validation !== null && corpus.test !== null) return 'train';
  const { validation, test } = corpus.holdout;
  const fraction = textFraction(text);
  if (fraction < validation) return corpus.validation === null ? 'validation' : 'train';
  return fraction < validation + test && corpus.test === null ? 'test' : 'train';
}

/** Paired bootstrap over documents: how much of a difference of losses is the choice of the documents. */
import { Random } from '../corpus/random.js';
import { DataError } from '../errors.js';
import type { DocumentLoss } from '../evaluate/types.js';

/** A difference of mean losses, nats per token, with the interval of its resamples. */
export interface Interval {
  /** Loss of the first model minus that of the second. */
  difference: number;
  low: number;
  high: number;
  /** Share of the resamples inside the interval. */
  level: number;
  documents: number;
  resamples: number;
}

/** Fewer documents than these say nothing of how a difference would be on others. */
export const FEWEST_DOCUMENTS = 10;

/** Sum over the chosen documents of losses divided by that of tokens. */
function meanDifference(
  a: readonly DocumentLoss[],
  b: readonly DocumentLoss[],
  choose: (i: number) => number,
) {
  let nats = 0;
  let tokens = 0;
  for (let i = 0; i < a.length; i++) {
    const document = choose(i);
    nats += a[document]![0] - b[document]![0];
    tokens += a[document]![1];
  }
  return tokens === 0 ? 0 : nats / tokens;
}

/**
 * Percentile interval of the paired difference: documents are drawn with replacement, the same ones for both
 * models, and the token-weighted difference is taken again.
 * @param seed of the resamples: equal inputs give equal intervals
 * @throws DataError when the two lists are not of the same documents
 */
export function pairedBootstrap(
  a: readonly DocumentLoss[],
  b: readonly DocumentLoss[],
  { resamples = 2000, level = 0.95, seed = 0 } = {},
): Interval {
  const odd = a.findIndex((document, i) => document[1] !== b[i]?.[1]);
  if (a.length !== b.length || odd >= 0) {
    throw new DataError('The losses of the two models are not of the same documents.', {
      expected: `${a.length} documents${odd >= 0 ? `, document ${odd} of ${a[odd]![1]} tokens` : ''}`,
      found: `${b.length} documents${odd >= 0 ? `, document ${odd} of ${b[odd]?.[1] ?? 0} tokens` : ''}`,
    });
  }
  const difference = meanDifference(a, b, (i) => i);
  const random = new Random('paired bootstrap', seed);
  const draws = Float64Array.from({ length: resamples }, () =>
    meanDifference(a, b, () => random.below(a.length)),
  ).sort();
  const at = (share: number) =>
    draws[Math.min(resamples - 1, Math.max(0, Math.round(share * (resamples - 1))))] ?? difference;
  return {
    difference,
    low: at((1 - level) / 2),
    high: at((1 + level) / 2),
    level,
    documents: a.length,
    resamples,
  };
}

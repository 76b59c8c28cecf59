/** Choosing the next token from its logits, as transformers does: temperature, then top-k, then top-p. */
import type { Random } from '../corpus/random.js';
import { NumericError, RequestError } from '../errors.js';

export interface Sampling {
  /** Logits are divided by it; above 0. */
  temperature: number;
  /** Only tokens whose logit is among the k largest, equal ones included; null: all. */
  topK: number | null;
  /** Only the most likely tokens that together have at least this probability, at least one; 1: all. */
  topP: number;
}

/** Throws RequestError naming the part of `sampling` that is out of its range. */
export function checkSampling({ temperature, topK, topP }: Sampling): void {
  const wrong = (key: string, expected: string, found: unknown): never => {
    throw new RequestError('Tokens cannot be drawn in this way.', { key, expected, found: String(found) });
  };
  if (!(temperature > 0 && temperature < Number.POSITIVE_INFINITY)) {
    wrong('temperature', 'a number above 0', temperature);
  }
  if (topK !== null && !(Number.isInteger(topK) && topK > 0)) wrong('topK', 'a whole number from 1 on', topK);
  if (!(topP > 0 && topP <= 1)) wrong('topP', 'a number above 0 and up to 1', topP);
}

/** The token of the largest logit, the first of equal ones. Throws NumericError where a logit is NaN. */
export function mostLikely(logits: ArrayLike<number>): number {
  let best = 0;
  for (let i = 0; i < logits.length; i++) {
    const logit = logits[i]!;
    if (Number.isNaN(logit)) throw notANumber(i);
    if (logit > logits[best]!) best = i;
  }
  return best;
}

/**
 * Probabilities of all tokens under `sampling`, 0 for those that it leaves out.
 *
 * top-k keeps every logit not below the k-th largest. top-p goes through the rest from the least likely on and leaves
 * out a token while the sum up to and including it is at most 1 - p; what is as likely as one that stays, stays.
 *
 * @throws NumericError where a logit is NaN or all are infinite
 */
export function distribution(logits: ArrayLike<number>, sampling: Sampling): Float64Array {
  const { temperature, topK, topP } = sampling;
  const scaled = Float64Array.from(logits, (logit) => logit / temperature);
  const largest = scaled[mostLikely(scaled)]!;
  if (!Number.isFinite(largest)) throw notANumber(mostLikely(scaled));
  const limited = topK !== null && topK < scaled.length;
  if (limited || topP < 1) {
    const rising = scaled.slice().sort();
    let first = limited ? rising.indexOf(rising[rising.length - topK]!) : 0;
    if (topP < 1) first += leftOut(rising.subarray(first), topP);
    const lowest = rising[first]!;
    for (const [i, logit] of scaled.entries()) if (logit < lowest) scaled[i] = Number.NEGATIVE_INFINITY;
  }
  const weights = scaled.map((logit) => Math.exp(logit - largest));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** How many of `rising`, which all count, top-p leaves out at its beginning. */
function leftOut(rising: Float64Array, topP: number): number {
  const largest = rising.at(-1)!;
  const weights = rising.map((logit) => Math.exp(logit - largest));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  let below = 0;
  for (let i = 0; i < rising.length - 1; i++) {
    below += weights[i]! / sum;
    if (below > 1 - topP) return i;
  }
  return rising.length - 1;
}

/** Draws a token: the first whose cumulated probability exceeds a uniform number, which is all that is used up. */
export function draw(probabilities: Float64Array, random: Random): number {
  const target = random.uniform();
  let sum = 0;
  let last = 0;
  for (let i = 0; i < probabilities.length; i++) {
    if (probabilities[i] === 0) continue;
    sum += probabilities[i]!;
    last = i;
    if (sum > target) break;
  }
  return last;
}

function notANumber(token: number): NumericError {
  return new NumericError('The model gives logits that are not finite.', {
    key: `token ${token}`,
    hint: 'its weights are damaged, or its training diverged',
  });
}

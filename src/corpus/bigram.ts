/**
 * The bar that a trained model must clear: an interpolated bigram model counted on the same training tokens and
 * evaluated on the same targets.
 *
 *     p(t | c) = w2 n(c, t) / n(c) + w1 n(t) / N + w0 / V          (Jelinek and Mercer 1980)
 *
 * The weights depend on how often the context c was seen, one triple for each power of two of n(c). They are
 * fitted by expectation maximisation on the training pairs themselves, each left out of the counts while it is
 * predicted (deleted interpolation), so that nothing of the held-out tokens is used.
 */
import { DataError } from '../errors.js';
import type { BatchOptions } from './batches.js';
import { NO_TARGET } from './batches.js';
import type { EvaluationRows } from './evaluation-rows.js';

export interface BigramOptions extends Pick<BatchOptions, 'store' | 'batch' | 'sequenceLength' | 'eos'> {
  /** V. */
  vocabularySize: number;
}

export interface BigramLoss {
  /** Mean over targets, in nats. */
  loss: number;
  /** Number of targets. */
  targets: number;
}

const ITERATIONS = 20;
/** Rows of the evaluation read at once. */
const ROWS = 64;

/** A bigram model counted on a token store. */
export class BigramModel {
  readonly vocabularySize: number;
  /** Number of pairs counted. */
  readonly pairs: number;
  /** n(t) as a target. */
  readonly #unigrams: Float64Array;
  /** Boundaries of the pairs of each context, repetitions included: n(c) is a difference of two. */
  readonly #contexts: Float64Array;
  /** Pairs (c, ·) are entries #rows[c] .. #rows[c + 1] of the next two, by rising t. */
  readonly #rows: Float64Array;
  readonly #nexts: Int32Array;
  readonly #counts: Int32Array;
  /** Weights w2, w1, w0 of each class of contexts. */
  readonly #weights: Float64Array;

  /**
   * Counts the pairs that training sees: within documents, and in `packed` rows also from an end token to the
   * first token of a document. Takes 4 to 12 bytes a training token.
   *
   * @throws DataError where there is no pair.
   */
  constructor(options: BigramOptions) {
    this.vocabularySize = options.vocabularySize;
    const sorted = sortPairs(options);
    this.pairs = sorted.nexts.length;
    if (this.pairs === 0)
      throw new DataError('There are no pairs of tokens to count.', { file: options.store.file });
    this.#unigrams = new Float64Array(this.vocabularySize);
    for (const next of sorted.nexts) this.#unigrams[next]!++;
    const merged = mergeEqual(sorted);
    this.#rows = merged.rows;
    this.#nexts = merged.nexts;
    this.#counts = merged.counts;
    this.#contexts = sorted.rows;
    this.#weights = this.#fit();
  }

  #seen(context: number): number {
    return this.#contexts[context + 1]! - this.#contexts[context]!;
  }

  /** p(next | context). */
  probability(context: number, next: number): number {
    let low = this.#rows[context]!;
    let high = this.#rows[context + 1]!;
    const end = high;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.#nexts[middle]! < next) low = middle + 1;
      else high = middle;
    }
    const seen = this.#seen(context);
    const count = low < end && this.#nexts[low] === next ? this.#counts[low]! : 0;
    const w = 3 * contextClass(seen);
    return (
      (seen === 0 ? 0 : (this.#weights[w]! * count) / seen) +
      (this.#weights[w + 1]! * this.#unigrams[next]!) / this.pairs +
      this.#weights[w + 2]! / this.vocabularySize
    );
  }

  /** Mean loss over the targets of held-out rows, each predicted from the token before it. */
  evaluate(rows: EvaluationRows): BigramLoss {
    let sum = 0;
    let targets = 0;
    for (let first = 0; first < rows.rows; first += ROWS) {
      const { inputIds, labels } = rows.batch(first, ROWS);
      for (let i = 0; i < labels.length; i++) {
        if (labels[i] === NO_TARGET) continue;
        sum -= Math.log(this.probability(inputIds[i]!, labels[i]!));
        targets++;
      }
    }
    return { loss: sum / targets, targets };
  }

  /** Expectation maximisation of the weights, every pair predicted from the counts without itself. */
  #fit(): Float64Array {
    const classes = contextClass(this.pairs) + 1;
    // A context never seen has no second term, and a class without pairs keeps its beginning.
    const weights = new Float64Array(3 * classes).map(
      (_, i) => (i < 3 ? [0, 0.9, 0.1] : [0.6, 0.3, 0.1])[i % 3]!,
    );
    for (let iteration = 0; iteration < ITERATIONS; iteration++) {
      const shares = new Float64Array(3 * classes);
      for (let context = 0; context < this.vocabularySize; context++) {
        const seen = this.#seen(context);
        const w = 3 * contextClass(seen);
        for (let i = this.#rows[context]!; i < this.#rows[context + 1]!; i++) {
          const count = this.#counts[i]!;
          const p2 = seen > 1 ? (weights[w]! * (count - 1)) / (seen - 1) : 0;
          const others = Math.max(1, this.pairs - 1);
          const p1 = (weights[w + 1]! * (this.#unigrams[this.#nexts[i]!]! - 1)) / others;
          const p0 = weights[w + 2]! / this.vocabularySize;
          const each = count / (p2 + p1 + p0);
          shares[w]! += each * p2;
          shares[w + 1]! += each * p1;
          shares[w + 2]! += each * p0;
        }
      }
      for (let w = 3; w < weights.length; w += 3) {
        const sum = shares[w]! + shares[w + 1]! + shares[w + 2]!;
        if (sum > 0) for (let i = w; i < w + 3; i++) weights[i] = shares[i]! / sum;
      }
    }
    return weights;
  }
}

/** 0 for a context never seen, else 1 + floor(log2 n(c)). */
function contextClass(seen: number): number {
  return seen === 0 ? 0 : 1 + Math.floor(Math.log2(seen));
}

interface Pairs {
  /** [V + 1] where the pairs of each context begin. */
  rows: Float64Array;
  /** The second token of each pair, rising within a context. */
  nexts: Int32Array;
}

/** All pairs of the training tokens, sorted by context and next token (a counting sort, then row by row). */
function sortPairs(options: BigramOptions): Pairs {
  const rows = new Float64Array(options.vocabularySize + 1);
  eachPair(options, (context) => {
    rows[context + 1]!++;
  });
  for (let c = 0; c < options.vocabularySize; c++) rows[c + 1]! += rows[c]!;
  const nexts = new Int32Array(rows[options.vocabularySize]!);
  const filled = rows.slice();
  eachPair(options, (context, next) => {
    nexts[filled[context]!++] = next;
  });
  for (let c = 0; c < options.vocabularySize; c++) nexts.subarray(rows[c]!, rows[c + 1]!).sort();
  return { rows, nexts };
}

/** Equal pairs become one with its count; in place. */
function mergeEqual({ rows: all, nexts }: Pairs): Pairs & { counts: Int32Array } {
  const counts = new Int32Array(nexts.length);
  const rows = new Float64Array(all.length);
  let used = 0;
  for (let c = 0; c + 1 < all.length; c++) {
    rows[c] = used;
    for (let i = all[c]!; i < all[c + 1]!; i++) {
      if (used > rows[c]! && nexts[used - 1] === nexts[i]) counts[used - 1]!++;
      else {
        nexts[used] = nexts[i]!;
        counts[used++] = 1;
      }
    }
  }
  rows[all.length - 1] = used;
  return { rows, nexts: nexts.slice(0, used), counts: counts.slice(0, used) };
}

/** Calls `take` for every (context, target) of training, in the order of the store. */
function eachPair(options: BigramOptions, take: (context: number, next: number) => void): void {
  const { store, batch, sequenceLength, eos } = options;
  for (let d = 0; d < store.documents; d++) {
    const ids = batch === 'packed' ? store.document(d) : store.document(d, sequenceLength);
    if (batch === 'packed' && ids.length > 0) take(eos, ids[0]!);
    for (let i = 1; i < ids.length; i++) take(ids[i - 1]!, ids[i]!);
  }
}

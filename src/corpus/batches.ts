/**
 * The order of training data, a pure function of (seed, epoch, step): any step can be made without the ones
 * before it.
 *
 * `packed`: the documents of the selection, each with its end token, form one ring in an order that follows
 * from the seed; row i reads tokens iT .. iT + T - 1 of the ring and predicts iT + 1 .. iT + T, so every token
 * is a target once an epoch (the last row repeats up to T - 1 tokens of the ring's beginning).
 * `padded`: one document a row, cut to T tokens, as the paper did; it predicts its tokens 1 .. n - 1.
 *
 * Packed documents may be kept apart: an end token then stands at the head of the document behind it, whose first
 * token it predicts, so that rows and targets are the same either way.
 *
 * Rows are permuted anew in every epoch. The rows of all epochs form one sequence that is cut into batches, so
 * a batch may hold rows of two epochs and none is short.
 */
import { DataError } from '../errors.js';
import type { Json } from '../formats/hash.js';
import type { TokenStore } from '../formats/token-store.js';
import type { TokenRows } from '../model/batch.js';
import type { Recipe } from '../recipe/schema.js';
import { Random } from './random.js';
import { TokenRing } from './ring.js';

/** The label of a position that predicts nothing. */
export const NO_TARGET = -100;

/** B rows of T tokens, as the model takes them. */
export type Batch = TokenRows;

export interface BatchOptions {
  store: TokenStore;
  /** Which documents of the store: a cluster. null: all. Their order does not matter. */
  documents: Int32Array | null;
  batch: 'packed' | 'padded';
  /** T. */
  sequenceLength: number;
  /** B. */
  batchSize: number;
  seed: number;
  /** The end token, which is what padding is made of. */
  eos: number;
  /** `packed`: whether documents see nothing of one another; left out: they do. */
  apart?: boolean;
}

/** The part of {@link BatchOptions} that a recipe says. */
export function rowOptions(
  corpus: Pick<Recipe['corpus'], 'batch' | 'sequenceLength' | 'documents'>,
): Pick<BatchOptions, 'batch' | 'sequenceLength' | 'apart'> {
  const { batch, sequenceLength, documents } = corpus;
  return { batch, sequenceLength, apart: documents === 'apart' };
}

/** The same as it stands in the keys of stages. */
export function rowReads({ batch, sequenceLength, documents }: Recipe['corpus']): Record<string, Json> {
  return { batch, sequenceLength, ...(batch === 'packed' && documents === 'apart' && { documents }) };
}

/**
 * The place of each token of packed rows in its document: 0 at the beginning of a row and at every end token.
 *
 * @param inputIds [B * T]
 */
export function documentPositions(inputIds: Int32Array, sequenceLength: number, eos: number): Int32Array {
  const positions = new Int32Array(inputIds.length);
  for (let i = 1; i < inputIds.length; i++) {
    if (i % sequenceLength !== 0 && inputIds[i] !== eos) positions[i] = positions[i - 1]! + 1;
  }
  return positions;
}

/** A batch of B rows of T positions, all padding. */
export function emptyBatch(rows: number, sequenceLength: number, eos: number, padded: boolean): Batch {
  const size = rows * sequenceLength;
  return {
    inputIds: new Int32Array(size).fill(eos),
    labels: new Int32Array(size).fill(NO_TARGET),
    valid: padded ? new Uint8Array(size) : null,
    rows,
    sequenceLength,
    tokens: 0,
    targets: 0,
  };
}

/** Writes tokens 0 .. n - 1 into a row and makes 1 .. n - 1 its targets: the shift of transformers. */
export function fillDocumentRow(batch: Batch, row: number, ids: ArrayLike<number>): void {
  const at = row * batch.sequenceLength;
  batch.inputIds.set(ids, at);
  for (let i = 1; i < ids.length; i++) batch.labels[at + i - 1] = ids[i]!;
  batch.valid?.fill(1, at, at + ids.length);
  batch.tokens += ids.length;
  batch.targets += Math.max(0, ids.length - 1);
}

/** Batches of a selection of documents. */
export class BatchSource {
  readonly rowsPerEpoch: number;
  readonly #options: BatchOptions;
  readonly #selection: Int32Array;
  readonly #ring: TokenRing | null;
  /** Row orders of the epochs used last. */
  readonly #orders = new Map<number, Int32Array>();

  /** @throws DataError where the selection is empty. */
  constructor(options: BatchOptions) {
    const { store, seed, sequenceLength } = options;
    const all = options.documents ?? Int32Array.from({ length: store.documents }, (_, d) => d);
    if (all.length === 0) throw new DataError('There are no documents to train on.', { file: store.file });
    this.#options = options;
    this.#selection = all.slice().sort();
    if (options.batch === 'packed') {
      const order = new Random(seed, 'documents').permutation(all.length);
      this.#ring = new TokenRing(
        store,
        order.map((i) => this.#selection[i]!),
      );
      if (this.#ring.length === 0) throw new DataError('The documents have no tokens.', { file: store.file });
      this.rowsPerEpoch = Math.ceil(this.#ring.length / sequenceLength);
    } else {
      this.#ring = null;
      this.rowsPerEpoch = all.length;
    }
  }

  /** Number of labels of the batch of `step`, without reading it. */
  targetTokens(step: number): number {
    const { batch, batchSize, sequenceLength } = this.#options;
    if (batch === 'packed') return batchSize * sequenceLength;
    let targets = 0;
    for (let r = 0; r < batchSize; r++) targets += Math.max(0, this.#rowLength(this.#row(step, r)) - 1);
    return targets;
  }

  /** The batch of `step`, counted from 0. */
  batch(step: number): Batch {
    return this.rows(step, 0, this.#options.batchSize);
  }

  /** Rows first .. first + count - 1 of the batch of `step`: a micro-batch. */
  rows(step: number, first: number, count: number): Batch {
    const { store, sequenceLength, eos, batch: kind, apart } = this.#options;
    const batch = emptyBatch(count, sequenceLength, eos, kind === 'padded');
    for (let r = 0; r < count; r++) {
      const row = this.#row(step, first + r);
      if (this.#ring === null) {
        fillDocumentRow(batch, r, store.document(this.#selection[row]!, sequenceLength));
      } else {
        const ids = this.#ring.read(row * sequenceLength, sequenceLength + 1);
        batch.inputIds.set(ids.subarray(0, sequenceLength), r * sequenceLength);
        batch.labels.set(ids.subarray(1), r * sequenceLength);
        batch.tokens += sequenceLength;
        batch.targets += sequenceLength;
      }
    }
    if (apart && kind === 'packed') {
      batch.positions = documentPositions(batch.inputIds, sequenceLength, eos);
    }
    return batch;
  }

  /** Which row of the selection is row `r` of the batch of `step`. */
  #row(step: number, r: number): number {
    const index = step * this.#options.batchSize + r;
    const epoch = Math.floor(index / this.rowsPerEpoch);
    let order = this.#orders.get(epoch);
    if (order === undefined) {
      order = new Random(this.#options.seed, 'rows', epoch).permutation(this.rowsPerEpoch);
      // The epoch before may still be asked for by this batch's first rows; older ones are remade if needed.
      for (const known of this.#orders.keys()) if (known !== epoch - 1) this.#orders.delete(known);
      this.#orders.set(epoch, order);
    }
    return order[index - epoch * this.rowsPerEpoch]!;
  }

  #rowLength(row: number): number {
    return Math.min(this.#options.store.length(this.#selection[row]!), this.#options.sequenceLength);
  }
}

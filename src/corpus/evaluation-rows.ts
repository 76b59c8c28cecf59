/**
 * Held-out tokens as rows that never change: documents in the order of the store, every target once, and with
 * each target the document that it belongs to, so that losses can be summed by document.
 *
 * `packed`: before the first document stands an end token, as before every other one, so that every token of
 * the store is a target. `padded`: one document a row, cut to T tokens, whose tokens 1 .. n - 1 are targets.
 */
import { DataError } from '../errors.js';
import { type Batch, type BatchOptions, documentPositions, emptyBatch, fillDocumentRow } from './batches.js';

/** A batch that knows whose its targets are. */
export interface EvaluationBatch extends Batch {
  /** [B * T] the document of each target; -1 where there is none. */
  documents: Int32Array;
}

export interface EvaluationOptions
  extends Pick<BatchOptions, 'store' | 'batch' | 'sequenceLength' | 'eos' | 'apart'> {
  /** Only the first so many targets (`padded`: rounded up to whole documents). */
  maxTargets?: number;
}

/** The rows of a held-out split. */
export class EvaluationRows {
  /** Number of rows. */
  readonly rows: number;
  /** Number of targets in all rows. */
  readonly targets: number;
  /** Positions of a row. */
  readonly sequenceLength: number;
  readonly #options: EvaluationOptions;

  /** @throws DataError where the store has no targets. */
  constructor(options: EvaluationOptions) {
    this.#options = options;
    const { store, sequenceLength, maxTargets = Number.POSITIVE_INFINITY } = options;
    this.sequenceLength = sequenceLength;
    if (options.batch === 'packed') {
      this.targets = Math.min(store.tokens, maxTargets);
      this.rows = Math.ceil(this.targets / sequenceLength);
    } else {
      let targets = 0;
      let rows = 0;
      for (; rows < store.documents && targets < maxTargets; rows++) {
        targets += Math.max(0, Math.min(store.length(rows), sequenceLength) - 1);
      }
      this.targets = targets;
      this.rows = rows;
    }
    if (this.targets === 0) throw new DataError('There is nothing to evaluate on.', { file: store.file });
  }

  /** Rows first .. first + count - 1, or as many of them as there are. */
  batch(first: number, count: number): EvaluationBatch {
    const { sequenceLength, eos, batch: kind, apart } = this.#options;
    const rows = Math.max(0, Math.min(count, this.rows - first));
    const short = kind === 'padded' || (first + rows) * sequenceLength > this.targets;
    const batch = emptyBatch(rows, sequenceLength, eos, short);
    const documents = new Int32Array(rows * sequenceLength).fill(-1);
    for (let r = 0; r < rows; r++) {
      if (kind === 'packed') this.#fillPacked(batch, documents, r, first + r);
      else this.#fillPadded(batch, documents, r, first + r);
    }
    if (apart && kind === 'packed') {
      batch.positions = documentPositions(batch.inputIds, sequenceLength, eos);
    }
    return { ...batch, documents };
  }

  #fillPacked(batch: Batch, documents: Int32Array, r: number, row: number): void {
    const { store, sequenceLength, eos } = this.#options;
    const start = row * sequenceLength;
    const count = Math.min(sequenceLength, this.targets - start);
    const at = r * sequenceLength;
    const labels = store.read(start, count);
    batch.labels.set(labels, at);
    batch.inputIds.set(labels.subarray(0, count - 1), at + 1);
    batch.inputIds[at] = start === 0 ? eos : store.read(start - 1, 1)[0]!;
    batch.valid?.fill(1, at, at + count);
    batch.tokens += count;
    batch.targets += count;
    let document = store.documentAt(start);
    for (let i = 0; i < count; i++) {
      while (store.start(document + 1) <= start + i) document++;
      documents[at + i] = document;
    }
  }

  #fillPadded(batch: Batch, documents: Int32Array, r: number, row: number): void {
    const { store, sequenceLength } = this.#options;
    const ids = store.document(row, sequenceLength);
    fillDocumentRow(batch, r, ids);
    const at = r * sequenceLength;
    documents.fill(row, at, at + Math.max(0, ids.length - 1));
  }
}

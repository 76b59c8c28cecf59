/** Held-out documents as windows: every document by itself, every target once. */

import { endTokenOf, openSplit } from '../../corpus/stage.js';
import { TextTokenizer } from '../../corpus/tokenizer.js';
import { DataError } from '../../errors.js';
import type { TokenRows } from '../../model/batch.js';
import type { StageRun } from '../../run/context.js';
import { requireDone } from '../../run/require.js';
import { countOf } from './tally.js';

/** How a document is cut. */
export interface Windows {
  /** Tokens that the model sees at once. */
  window: number;
  /** Tokens by which a window moves on: those of a window that are targets, but for the first one. */
  stride: number;
}

/** One window. */
interface Place {
  document: number;
  /** Targets first .. last - 1 of the document; before them as many known tokens as fit. */
  first: number;
  last: number;
}

/** The documents of a split, their targets counted through. */
export interface HeldOutDocuments {
  /** Documents, the rows of all numbers below. */
  count: number;
  /** Targets of each document. */
  targets: Int32Array;
  /** First target of each document among all. */
  starts: Float64Array;
  /** UTF-8 bytes of the text of each document's targets. */
  bytes: Float64Array;
  /** Ids of a document: its targets, behind the token that the first of them is predicted from. */
  ids(document: number): Int32Array;
  places: readonly Place[];
  windows: Windows;
  /** The tokenizer's file, and its hash. */
  tokenizer: { file: string; sha256: string };
}

/**
 * Reads the held-out documents of a run. Packed rows begin each document behind an end token, padded ones with the
 * document's own first token; so it is here.
 *
 * @throws DataError where the split has no targets
 */
export async function readDocuments(
  context: StageRun,
  split: 'validation' | 'test',
  windows: Windows,
): Promise<HeldOutDocuments> {
  const { run, recipe } = context;
  const eos = endTokenOf(requireDone(run, 'corpus'));
  const tokenizer = await TextTokenizer.load(run.stage('corpus').path('tokenizer.json'), eos);
  const store = openSplit(context, split);
  try {
    const packed = recipe.corpus.batch === 'packed';
    const documents: Int32Array[] = [];
    for (let document = 0; document < store.documents; document++) {
      const ids = Int32Array.from(store.document(document));
      documents.push(packed ? Int32Array.of(eos, ...ids) : ids);
    }
    const targets = Int32Array.from(documents, (ids) => Math.max(0, ids.length - 1));
    const starts = new Float64Array(documents.length);
    let total = 0;
    targets.forEach((count, i) => {
      starts[i] = total;
      total += count;
    });
    if (total === 0) throw new DataError('There is nothing to evaluate on.', { file: store.file });
    const bytes = new Float64Array(documents.length);
    for (const [i, ids] of documents.entries()) {
      bytes[i] = Buffer.byteLength(await tokenizer.decode(ids.subarray(1)));
    }
    return {
      count: documents.length,
      targets,
      starts,
      bytes,
      ids: (document) => documents[document]!,
      places: placesOf(targets, windows),
      windows,
      tokenizer: { file: tokenizer.file, sha256: tokenizer.sha256 },
    };
  } finally {
    store.close();
  }
}

/** All windows, the longest first, so that rows of a batch are of like length. */
function placesOf(targets: Int32Array, { window, stride }: Windows): Place[] {
  const places: Place[] = [];
  targets.forEach((count, document) => {
    for (let first = 0; first < count; ) {
      const last = Math.min(count, first === 0 ? window : first + stride);
      places.push({ document, first, last });
      first = last;
    }
  });
  return places.sort((a, b) => b.last - a.last || a.document - b.document);
}

/**
 * Windows as rows, padded at their ends; `at` says which target of all each position has, -1 for none.
 */
export function windowRows(
  { ids, starts, windows }: HeldOutDocuments,
  places: readonly Place[],
): TokenRows & { at: Float64Array } {
  const begins = places.map(({ last }) => Math.max(0, last - windows.window));
  const sequenceLength = places.reduce((most, { last }, i) => Math.max(most, last - begins[i]!), 0);
  const size = places.length * sequenceLength;
  const inputIds = new Int32Array(size);
  const labels = new Int32Array(size).fill(-100);
  const valid = new Uint8Array(size);
  const at = new Float64Array(size).fill(-1);
  places.forEach(({ document, first, last }, r) => {
    const tokens = ids(document);
    const begin = begins[r]!;
    const row = r * sequenceLength;
    inputIds.set(tokens.subarray(begin, last), row);
    valid.fill(1, row, row + last - begin);
    for (let target = first; target < last; target++) {
      labels[row + target - begin] = tokens[target + 1]!;
      at[row + target - begin] = starts[document]! + target;
    }
  });
  return {
    inputIds,
    labels,
    valid,
    at,
    rows: places.length,
    sequenceLength,
    tokens: countOf(valid, (one) => one === 1),
    targets: countOf(labels, (label) => label >= 0),
  };
}

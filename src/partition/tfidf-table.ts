/**
 * Token vectors by which eq. (1) becomes tf-idf with a truncated SVD, the vectors of c-BTM (Gururangan et al. 2023).
 *
 * A text of term counts n(t) has the tf-idf row n(t) idf(t), and its projection onto the leading right singular vectors
 * V [T, d] of all rows is sum_t n(t) idf(t) V(t): up to its length the mean of the rows idf(t) V(t) of its tokens. So
 * the table of these rows is all that is needed, and once documents are scaled to unit length, nothing differs.
 *
 * Terms are tokens, so that the token store is all that is read: those that differ in case alone are one term, numbers
 * are one, and stop words that are single tokens can be left out.
 */
import { Random } from '../corpus/random.js';
import type { TextTokenizer } from '../corpus/tokenizer.js';
import type { Ids, TokenStore } from '../formats/token-store.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { type LinearMap, truncatedSvd } from './low-rank.js';
import type { Pause } from './pause.js';
import { readSample, sampleDocuments } from './sample.js';
import { ENGLISH_STOP_WORDS } from './stop-words.js';

/** Of an embedding bag. */
const SUM = 0;
/** Documents or ids between two pauses. */
const PAUSE_STEPS = 1024;

/** Which term each token is. */
export interface Terms {
  /** Term of each token id, -1 where it is none: int32 [V]. */
  ofToken: Int32Array;
  /** T. */
  count: number;
}

export interface TfidfOptions {
  terms: Terms;
  /** d at most. */
  dimension: number;
  /** Tokens counted at most: documents drawn at random. */
  maxTokens: number;
  /** Tokens of a document that count. */
  limit: number;
  seed: number;
  device: string;
  pause: Pause;
}

/** The terms of a tokenizer; its end token is none. */
export async function termsOf(
  tokenizer: TextTokenizer,
  options: { stopWords: 'none' | 'english'; pause: Pause },
): Promise<Terms> {
  const ofToken = new Int32Array(tokenizer.largestId + 1).fill(-1);
  const known = new Map<string, number>();
  for (let id = 0; id < ofToken.length; id++) {
    if (id % PAUSE_STEPS === 0) await options.pause();
    if (id === tokenizer.eos.id) continue;
    const text = (await tokenizer.decode([id])).toLowerCase();
    const word = text.trim();
    if (options.stopWords === 'english' && ENGLISH_STOP_WORDS.has(word)) continue;
    // Bytes that are no text by themselves all read as U+FFFD; each is a term of its own.
    const name = word === '' || word.includes('�') ? `\0${id}` : /^\d+$/.test(word) ? '\0number' : text;
    if (!known.has(name)) known.set(name, known.size);
    ofToken[id] = known.get(name)!;
  }
  return { ofToken, count: known.size };
}

/**
 * Makes the table: row t is idf(t) V(t), with idf(t) = ln((1 + N) / (1 + N(t))) + 1 over N documents, N(t) of which
 * have the term, and V from the SVD of the documents' tf-idf rows, each of unit length.
 *
 * @returns weight float32 [V, d], zero for tokens that are no term; counted: tokens of the sample
 */
export async function makeTfidfTable(
  store: TokenStore,
  options: TfidfOptions,
): Promise<{ weight: Tensor; counted: number; terms: number }> {
  const { terms, dimension, maxTokens, limit, seed, device, pause } = options;
  const sample = sampleDocuments(store, maxTokens, seed, limit);
  const counts = await countTerms(() => readSample(store, sample), terms, pause);
  const idf = inverseFrequencies(counts, terms.count);
  scaleRows(counts, idf);
  const map = torch.scope(() => termsByDocuments(counts, terms.count, device));
  try {
    const svd = await truncatedSvd(map, dimension, new Random(seed, 'svd'), pause);
    const rows = new Float32Array(terms.ofToken.length * svd.rank);
    for (const [id, term] of terms.ofToken.entries()) {
      if (term < 0) continue;
      for (let j = 0; j < svd.rank; j++)
        rows[id * svd.rank + j] = idf[term]! * svd.vectors[term * svd.rank + j]!;
    }
    const weight = torch.tensor(rows, [terms.ofToken.length, svd.rank], { device });
    return { weight, counted: sample.reduce((sum, { tokens }) => sum + tokens, 0), terms: terms.count };
  } finally {
    for (const tensor of map.tensors) tensor.dispose();
  }
}

/** A sparse matrix of N documents and T terms, by documents. */
interface TermCounts {
  /** Document i has entries starts[i] .. starts[i + 1]. [N + 1] */
  starts: Int32Array;
  term: Int32Array;
  value: Float32Array;
}

async function countTerms(
  documents: () => Iterable<Ids>,
  { ofToken, count }: Terms,
  pause: Pause,
): Promise<TermCounts> {
  const here = new Int32Array(count);
  const starts: number[] = [0];
  const parts: { term: Int32Array; value: Float32Array }[] = [];
  let entries = 0;
  for (const ids of documents()) {
    const found: number[] = [];
    for (const id of ids) {
      const term = ofToken[id] ?? -1;
      if (term >= 0 && here[term]!++ === 0) found.push(term);
    }
    const term = Int32Array.from(found).sort();
    parts.push({ term, value: Float32Array.from(term, (t) => here[t]!) });
    for (const t of term) here[t] = 0;
    entries += term.length;
    starts.push(entries);
    if (starts.length % PAUSE_STEPS === 0) await pause();
  }
  const counts = {
    starts: Int32Array.from(starts),
    term: new Int32Array(entries),
    value: new Float32Array(entries),
  };
  for (const [i, part] of parts.entries()) {
    counts.term.set(part.term, starts[i]!);
    counts.value.set(part.value, starts[i]!);
  }
  return counts;
}

function inverseFrequencies({ starts, term }: TermCounts, terms: number): Float64Array {
  const documents = starts.length - 1;
  const having = new Float64Array(terms);
  for (const t of term) having[t]!++;
  return having.map((count) => Math.log((1 + documents) / (1 + count)) + 1);
}

/** Counts become tf-idf rows of unit length. */
function scaleRows({ starts, term, value }: TermCounts, idf: Float64Array): void {
  for (let i = 0; i + 1 < starts.length; i++) {
    let squares = 0;
    for (let at = starts[i]!; at < starts[i + 1]!; at++) {
      value[at]! *= idf[term[at]!]!;
      squares += value[at]! ** 2;
    }
    const length = Math.sqrt(squares) || 1;
    for (let at = starts[i]!; at < starts[i + 1]!; at++) value[at]! /= length;
  }
}

/** The matrix as a map of T rows and N columns: both products are sums of weighted rows, each in a fixed order. */
function termsByDocuments(
  counts: TermCounts,
  terms: number,
  device: string,
): LinearMap & { tensors: Tensor[] } {
  const { starts, term, value } = counts;
  const documents = starts.length - 1;
  const termStarts = new Int32Array(terms);
  for (const t of term) if (t + 1 < terms) termStarts[t + 1]!++;
  for (let t = 1; t < terms; t++) termStarts[t]! += termStarts[t - 1]!;
  const next = termStarts.slice();
  const document = new Int32Array(term.length);
  const byTerm = new Float32Array(term.length);
  for (let i = 0; i < documents; i++) {
    for (let at = starts[i]!; at < starts[i + 1]!; at++) {
      const place = next[term[at]!]!++;
      document[place] = i;
      byTerm[place] = value[at]!;
    }
  }
  const upload = (data: Int32Array | Float32Array): Tensor => torch.tensor(data, [data.length], { device });
  const tensors = [document, termStarts, byTerm, term, starts.subarray(0, documents), value].map(upload);
  const product = (x: Tensor, [indices, offsets, weights]: readonly Tensor[]): Tensor =>
    torch.embeddingBag(x.contiguous(), indices!, offsets!, { mode: SUM, perSampleWeights: weights! })[0];
  return {
    rows: terms,
    columns: documents,
    device,
    times: (x) => product(x, tensors.slice(0, 3)),
    transposeTimes: (y) => product(y, tensors.slice(3)),
    tensors,
  };
}

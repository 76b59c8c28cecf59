/** What shows a person what a cluster is about: documents near its centre, and its words. */
import type { TextTokenizer } from '../corpus/tokenizer.js';
import type { TokenStore } from '../formats/token-store.js';
import * as torch from '../torch/index.js';
import type { Fit } from './fit.js';
import { ownDistances } from './nearest.js';
import type { Pause } from './pause.js';
import { readSample, sampleDocuments } from './sample.js';
import { beginning, ClusterWords } from './terms.js';

/** Documents named per cluster, and how much of each is shown. */
const SAMPLES = 4;
const SAMPLE_CHARACTERS = 120;
const TERMS = 12;
/** Tokens whose words are counted. */
const WORD_TOKENS = 4_000_000;
/** Tokens of a document that are read for the words of a cluster of which the sample has none. */
const FEW_TOKENS = 1000;

/** Of each cluster the documents nearest to its centroid, nearest first. */
export async function typicalDocuments(fit: Fit, device: string, pause: Pause): Promise<number[][]> {
  const { vectors, centroids, kmeans, sample } = fit;
  const { rows, columns, values } = centroids;
  const about = values.map((value, i) => value - kmeans.origin[i % columns]!);
  const points = torch.tensor(about, [rows, columns], { device });
  try {
    const labels =
      sample === null ? fit.labels : Int32Array.from(sample, (document) => fit.labels[document]!);
    const distances = await ownDistances(vectors, points, labels, pause);
    const typical: number[][] = Array.from({ length: rows }, () => []);
    for (let i = 0; i < labels.length; i++) {
      const best = typical[labels[i]!]!;
      let at = best.length;
      while (at > 0 && distances[best[at - 1]!]! > distances[i]!) at--;
      if (at < SAMPLES) best.splice(at, 0, i);
      best.length = Math.min(best.length, SAMPLES);
    }
    return sample === null ? typical : typical.map((list) => list.map((i) => sample[i]!));
  } finally {
    points.dispose();
  }
}

/** Of each cluster the first documents. */
export function firstDocuments(labels: Int32Array, clusters: number): number[][] {
  const first: number[][] = Array.from({ length: clusters }, () => []);
  for (const [document, label] of labels.entries()) {
    if (first[label]!.length < SAMPLES) first[label]!.push(document);
  }
  return first;
}

/** How documents begin, on one line each. */
export async function beginnings(
  store: TokenStore,
  tokenizer: TextTokenizer,
  documents: readonly number[],
): Promise<{ document: number; text: string }[]> {
  const texts = [];
  for (const document of documents) {
    const text = await tokenizer.decode(store.document(document, SAMPLE_CHARACTERS));
    texts.push({ document, text: beginning(text, SAMPLE_CHARACTERS) });
  }
  return texts;
}

export interface TermsRequest {
  labels: Int32Array;
  clusters: number;
  /** Documents of each cluster that are read in any case. */
  samples: readonly (readonly number[])[];
  /** How often each token occurs in each cluster: [E][V]. */
  counts: readonly Float64Array[];
  limit: number;
  seed: number;
  pause: Pause;
}

/** Words that tell each cluster from the others; where its texts have no words, tokens. */
export async function characteristicTerms(
  store: TokenStore,
  tokenizer: TextTokenizer,
  { labels, clusters, samples, counts, limit, seed, pause }: TermsRequest,
): Promise<string[][]> {
  const words = new ClusterWords(clusters);
  const sample = sampleDocuments(store, WORD_TOKENS, seed, limit);
  let at = 0;
  for (const ids of readSample(store, sample)) {
    words.add(labels[sample[at++]!.document]!, await tokenizer.decode(ids));
    if (at % 64 === 0) await pause();
  }
  for (let k = 0; k < clusters; k++) {
    if (words.size(k) > 0) continue;
    for (const document of samples[k]!) {
      words.add(k, await tokenizer.decode(store.document(document, Math.min(limit, FEW_TOKENS))));
    }
  }
  const terms = words.characteristic(TERMS);
  for (const [k, list] of terms.entries()) {
    if (list.length === 0) list.push(...(await frequentTokens(tokenizer, counts, k)));
  }
  return terms;
}

/** Tokens that are more frequent in cluster `k` than in all, by how much more, as text. */
async function frequentTokens(
  tokenizer: TextTokenizer,
  counts: readonly Float64Array[],
  k: number,
): Promise<string[]> {
  const total = (list: Float64Array): number => list.reduce((sum, count) => sum + count, 0);
  const all = counts.reduce(
    (sum, list) => sum.map((count, t) => count + list[t]!),
    new Float64Array(counts[k]!.length),
  );
  const [here, everywhere] = [total(counts[k]!), total(all)];
  const excess = counts[k]!.map((count, t) =>
    counts.length === 1 ? count : count / here - all[t]! / everywhere,
  );
  const order = Int32Array.from(excess.keys())
    .filter((t) => counts[k]![t]! > 0 && t !== tokenizer.eos.id)
    .sort((a, b) => excess[b]! - excess[a]! || a - b);
  const found = new Set<string>();
  for (const token of order.subarray(0, 4 * TERMS)) {
    const text = (await tokenizer.decode([token])).trim();
    if (text !== '' && found.size < TERMS) found.add(text);
  }
  return [...found];
}

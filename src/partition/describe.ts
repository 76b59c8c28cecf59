/** What a partition is like: the content of its report. */
import { Random } from '../corpus/random.js';
import type { TextTokenizer } from '../corpus/tokenizer.js';
import type { TokenStore } from '../formats/token-store.js';
import type { Recipe } from '../recipe/schema.js';
import { jensenShannon, readClusterTokens } from './cluster-tokens.js';
import type { Fit } from './fit.js';
import type { Pause } from './pause.js';
import { randomPartition, tokensPerCluster } from './random-partition.js';
import type { Clusters } from './report.js';
import { readSample, sampleDocuments } from './sample.js';
import { beginning, ClusterWords } from './terms.js';

const TERMS = 12;
const SAMPLES = 4;
const SAMPLE_CHARACTERS = 120;
/** Tokens whose words are counted. */
const WORD_TOKENS = 4_000_000;

export interface DescribeOptions {
  recipe: Recipe;
  /** The corpus's. */
  tokenizer: TextTokenizer;
  /** Tokens of a document that are trained on. */
  limit: number;
  /** Rows of the embedding table, and what it is, in words. */
  rows: number;
  description: string;
  pause: Pause;
}

/** Labels in the end, and all that the report says of them. */
export async function describePartition(
  store: TokenStore,
  fit: Fit,
  { recipe, tokenizer, limit, rows, description, pause }: DescribeOptions,
): Promise<{ labels: Int32Array; clusters: Clusters }> {
  const { partition, seed } = recipe;
  const clusters = fit.centroids.rows;
  const random = partition.method === 'random';
  const lengths = Float64Array.from({ length: store.documents }, (_, d) => Math.min(limit, store.length(d)));
  const dealt = (n: number): Int32Array =>
    randomPartition(fit.kmeans.labels, lengths, clusters, new Random(seed, 'random partition', n));
  const labels = random ? dealt(0) : fit.kmeans.labels;
  const held = await readClusterTokens(store, labels, dealt(1), {
    clusters,
    vocabularySize: tokenizer.largestId + 1,
    limit,
    pause,
  });
  const samples = random ? firstDocuments(labels, clusters) : fit.typical;
  const tokens = tokensPerCluster(labels, lengths, clusters);
  const counterpart = tokensPerCluster(fit.kmeans.labels, lengths, clusters);
  const all = tokens.reduce((sum, n) => sum + n, 0);
  const words = await countWords(store, tokenizer, labels, { clusters, limit, seed, pause });
  const list: Clusters['clusters'] = [];
  for (const [k, terms] of words.characteristic(TERMS).entries()) {
    const texts = [];
    for (const document of samples[k]!) {
      const text = await tokenizer.decode(store.document(document, SAMPLE_CHARACTERS));
      texts.push({ document, text: beginning(text, SAMPLE_CHARACTERS) });
    }
    list.push({
      cluster: k,
      documents: labels.reduce((sum, label) => sum + (label === k ? 1 : 0), 0),
      tokens: tokens[k]!,
      share: tokens[k]! / all,
      sha256: held.hashes[k]!,
      terms,
      samples: texts,
    });
  }
  const { inertia, total, iterations, converged, inertias } = fit.kmeans;
  return {
    labels,
    clusters: {
      format: 1,
      method: partition.method,
      documents: store.documents,
      tokens: all,
      embedding: {
        source: partition.embedding.source,
        dimension: fit.centroids.columns,
        rows,
        description,
      },
      center: partition.center,
      normalize: partition.normalize,
      kmeans: {
        inertia,
        explainedVariance: total > 0 ? 1 - inertia / total : 0,
        iterations,
        converged,
        inertias,
      },
      clusters: list,
      smallestShare: Math.min(...list.map((c) => c.share)),
      imbalance: (Math.max(...tokens) * clusters) / all,
      divergence: jensenShannon(held.counts),
      randomDivergence: jensenShannon(held.otherCounts),
      tokenDifferences: random ? Array.from(tokens, (n, k) => n - counterpart[k]!) : null,
    },
  };
}

async function countWords(
  store: TokenStore,
  tokenizer: TextTokenizer,
  labels: Int32Array,
  { clusters, limit, seed, pause }: { clusters: number; limit: number; seed: number; pause: Pause },
): Promise<ClusterWords> {
  const words = new ClusterWords(clusters);
  const sample = sampleDocuments(store, WORD_TOKENS, seed, limit);
  let at = 0;
  for (const ids of readSample(store, sample)) {
    words.add(labels[sample[at++]!.document]!, await tokenizer.decode(ids));
    if (at % 64 === 0) await pause();
  }
  return words;
}

function firstDocuments(labels: Int32Array, clusters: number): number[][] {
  const first: number[][] = Array.from({ length: clusters }, () => []);
  labels.forEach((label, document) => {
    if (first[label]!.length < SAMPLES) first[label]!.push(document);
  });
  return first;
}

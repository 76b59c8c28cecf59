/** What a partition is like: the content of its report. */
import { Random } from '../corpus/random.js';
import type { TextTokenizer } from '../corpus/tokenizer.js';
import type { DocumentLabels } from '../formats/labels.js';
import type { TokenStore } from '../formats/token-store.js';
import type { Recipe } from '../recipe/schema.js';
import { agreementOf, contingency } from './agreement.js';
import { jensenShannon, readClusterTokens } from './cluster-tokens.js';
import { beginnings, characteristicTerms, firstDocuments, typicalDocuments } from './examples.js';
import { type Fit, pick } from './fit.js';
import { type DocumentMap, documentMap } from './map.js';
import { explainedVariance, silhouettes } from './measures.js';
import type { Pause } from './pause.js';
import { randomPartition, tokensPerCluster } from './random-partition.js';
import type { Clusters } from './report.js';

export interface DescribeOptions {
  recipe: Recipe;
  /** The corpus's. */
  tokenizer: TextTokenizer;
  /** Tokens of a document that are trained on. */
  limit: number;
  /** Tokens of each document that are trained on: [documents]. */
  tokens: Float64Array;
  /** Rows of the embedding table, and what it is, in words. */
  rows: number;
  description: string;
  /** The documents' own labels, where the corpus has them. */
  domains: DocumentLabels | null;
  device: string;
  pause: Pause;
}

/** Labels in the end, all that the report says of them, and its map. */
export interface Description {
  labels: Int32Array;
  clusters: Clusters;
  map: DocumentMap;
}

/** Describes the clusters that were found, or their random counterpart. */
export async function describePartition(
  store: TokenStore,
  fit: Fit,
  options: DescribeOptions,
): Promise<Description> {
  const { recipe, tokenizer, limit, tokens: lengths, rows, description, domains, device, pause } = options;
  const { partition, seed } = recipe;
  const clusters = fit.centroids.rows;
  const random = partition.method === 'random';
  const dealt = (n: number): Int32Array =>
    randomPartition(fit.labels, lengths, clusters, new Random(seed, 'random partition', n));
  const labels = random ? dealt(0) : fit.labels;
  const other = dealt(1);
  const held = await readClusterTokens(store, labels, other, {
    clusters,
    vocabularySize: tokenizer.largestId + 1,
    limit,
    pause,
  });
  const samples = random ? firstDocuments(labels, clusters) : await typicalDocuments(fit, device, pause);
  const tokens = tokensPerCluster(labels, lengths, clusters);
  const all = tokens.reduce((sum, n) => sum + n, 0);
  const terms = await characteristicTerms(store, tokenizer, {
    labels,
    clusters,
    samples,
    counts: held.counts,
    limit,
    seed,
    pause,
  });
  const documents = tokensPerCluster(labels, new Float64Array(labels.length).fill(1), clusters);
  const list: Clusters['clusters'] = [];
  for (let k = 0; k < clusters; k++) {
    const name =
      partition.method === 'field' ? domains?.names[domains.ofDocument[samples[k]![0]!]!] : undefined;
    list.push({
      cluster: k,
      documents: documents[k]!,
      tokens: tokens[k]!,
      share: tokens[k]! / all,
      sha256: held.hashes[k]!,
      terms: terms[k]!,
      samples: await beginnings(store, tokenizer, samples[k]!),
      ...(name !== undefined && { name }),
    });
  }
  const quality = await qualityOf(fit, [labels, other], options);
  const { inertia, total, iterations, converged, inertias } = fit.kmeans;
  const counterpart = tokensPerCluster(fit.labels, lengths, clusters);
  const { columns, values } = fit.centroids;
  const map = await documentMap(
    fit.vectors,
    pick(labels, fit.sample),
    values.map((value, i) => value - fit.kmeans.origin[i % columns]!),
    { seed, device, pause },
  );
  return {
    labels,
    map,
    clusters: {
      format: 1,
      method: partition.method,
      documents: store.documents,
      tokens: all,
      embedding: { source: partition.embedding.source, dimension: columns, rows, description },
      center: partition.center,
      normalize: partition.normalize,
      settings: {
        algorithm: partition.algorithm,
        balanced: partition.balanced,
        tolerance: partition.tolerance,
        sample: fit.sample?.length ?? null,
      },
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
      quality,
      tokenDifferences: random ? Array.from(tokens, (n, k) => n - counterpart[k]!) : null,
    },
  };
}

/** The measures of a partition beside those of a random one. */
async function qualityOf(
  fit: Fit,
  labelings: readonly [Int32Array, Int32Array],
  { recipe, domains, device, pause }: DescribeOptions,
): Promise<NonNullable<Clusters['quality']>> {
  const clusters = fit.centroids.rows;
  const ofVectors = labelings.map((labels) => pick(labels, fit.sample));
  const found = silhouettes(fit.vectors, ofVectors, { device, seed: recipe.seed });
  const tables = labelings.map((labels) =>
    domains === null
      ? null
      : contingency(labels, domains.ofDocument, { clusters, domains: domains.names.length }),
  );
  const { total } = fit.kmeans;
  const measured = async (which: 0 | 1) => ({
    explainedVariance: await explainedVariance(fit.vectors, ofVectors[which]!, clusters, {
      total,
      device,
      pause,
    }),
    silhouette: found[which]?.value ?? null,
    agreement: tables[which] ? agreementOf(tables[which]) : null,
  });
  return {
    vectors: fit.vectors.shape[0]!,
    silhouetteSample: found[0]?.sample ?? 0,
    clusters: await measured(0),
    random: await measured(1),
    domains: domains === null ? null : { names: domains.names, documents: tables[0]! },
  };
}

/** partition/clusters.json and clusters.md: what the clusters are, for programs and for people. */
import { join } from 'node:path';
import { z } from 'zod';
import { DataError } from '../errors.js';
import { readVersioned } from '../run/versioned.js';

export const CLUSTERS_FILE = 'clusters.json';

const count = z.int().nonnegative();
const divergence = z.strictObject({ nats: z.number(), maximum: z.number() });

const cluster = z.strictObject({
  cluster: count,
  documents: count,
  /** Tokens that are trained on: of whole documents, or of rows cut to the sequence length. */
  tokens: count,
  /** Of all tokens. */
  share: z.number(),
  /** Input hash of submodel k; see ClusterTokens.hashes. */
  sha256: z.string(),
  /** Words that tell this cluster from the others. */
  terms: z.array(z.string()),
  /** Documents nearest to the centroid (random: the first ones) and how they begin. */
  samples: z.array(z.strictObject({ document: count, text: z.string() })),
});

const clustersSchema = z.strictObject({
  format: z.literal(1),
  method: z.enum(['kmeans', 'random', 'whole']),
  documents: count,
  tokens: count,
  /** The token vectors of eq. (1). */
  embedding: z.strictObject({
    source: z.enum(['corpus', 'folder']),
    dimension: count,
    rows: count,
    /** In words: how it was made, or where it lies. */
    description: z.string(),
  }),
  center: z.boolean(),
  normalize: z.boolean(),
  /** Of the k-means, also where the labels were then permuted. */
  kmeans: z.strictObject({
    inertia: z.number(),
    /** 1 - inertia / sum of squares about the mean. */
    explainedVariance: z.number(),
    iterations: count,
    converged: z.boolean(),
    /** Of every start. */
    inertias: z.array(z.number()),
  }),
  clusters: z.array(cluster),
  smallestShare: z.number(),
  /** Tokens of the largest cluster by the mean: the S-phase is paid as E times its longest submodel. */
  imbalance: z.number(),
  /** Generalised Jensen-Shannon divergence of the clusters' token distributions. */
  divergence,
  /** The same of a random partition with the same numbers of tokens (random: of another one). */
  randomDivergence: divergence,
  /** random: tokens of each cluster less those of its clustered counterpart. */
  tokenDifferences: z.array(z.int()).nullable(),
});

/** The content of clusters.json. */
export type Clusters = z.output<typeof clustersSchema>;

/**
 * Reads clusters.json of a partition folder.
 * @throws DataError where it is missing, of a newer format or damaged.
 */
export function readClusters(folder: string): Clusters {
  const file = join(folder, CLUSTERS_FILE);
  const found = readVersioned(file, clustersSchema);
  if (found === null)
    throw new DataError(`File not found: ${file}`, { file, hint: 'moe-disco partition RUN makes it' });
  return found;
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const grouped = (n: number): string => n.toLocaleString('en');

/** The report as Markdown. */
export function clustersMarkdown(report: Clusters): string {
  const { clusters, kmeans, divergence: own, randomDivergence: chance } = report;
  const rows = clusters.map(
    (c) =>
      `| ${c.cluster} | ${grouped(c.documents)} | ${grouped(c.tokens)} | ${percent(c.share)} | ${c.terms.join(', ')} |`,
  );
  const samples = clusters.flatMap((c) => [
    `### Cluster ${c.cluster}`,
    '',
    ...c.samples.map(({ document, text }) => `- document ${document}: ${escapeMarkdown(text)}`),
    '',
  ]);
  const differences = report.tokenDifferences;
  return [
    `# ${clusters.length} clusters of ${grouped(report.documents)} documents`,
    '',
    howMade(report),
    '',
    '| cluster | documents | tokens | share | characteristic words |',
    '|---:|---:|---:|---:|---|',
    ...rows,
    '',
    `- Smallest cluster: ${percent(report.smallestShare)} of ${grouped(report.tokens)} tokens.`,
    `- Imbalance: the largest cluster has ${report.imbalance.toFixed(2)} times the mean. Trained for equal epochs, the ` +
      `S-phase, which is paid as ${clusters.length} times its longest submodel, costs ${report.imbalance.toFixed(2)} ` +
      `times what it would with equal clusters; ${percent(1 - 1 / report.imbalance)} of what is paid waits for the longest.`,
    `- Explained variance of the k-means: ${percent(kmeans.explainedVariance)} (${kmeans.iterations} iterations` +
      `${kmeans.converged ? '' : ', not converged'}; best of ${kmeans.inertias.length}).`,
    `- Jensen-Shannon divergence of the clusters' token distributions: ${own.nats.toFixed(4)} nats of at most ` +
      `${own.maximum.toFixed(4)}; of ${report.method === 'random' ? 'another' : 'a'} random partition with the same numbers of tokens: ${chance.nats.toFixed(4)}.`,
    ...(differences === null
      ? []
      : [`- Tokens less those of the clustered counterpart: ${differences.map(grouped).join(', ')}.`]),
    '',
    '## Documents',
    '',
    ...samples,
  ].join('\n');
}

function howMade({ method, embedding, center, normalize }: Clusters): string {
  if (method === 'random')
    return 'The labels of k-means, permuted at random: clusters of the same sizes without a subject.';
  if (method === 'whole') return 'The corpus is not divided: one submodel trains on all of it.';
  return (
    `K-means over mean token vectors of ${embedding.dimension} dimensions (${embedding.description})` +
    `${center ? ', centred' : ''}${normalize ? ', scaled to unit length' : ''}.`
  );
}

function escapeMarkdown(text: string): string {
  return text.replace(/[\\`*_{}[\]<>#|]/g, '\\$&');
}

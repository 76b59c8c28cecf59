/** partition/clusters.json: what the clusters are, for programs. report.md and report.html say it to people. */
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
  /** field: the domain that this cluster is. */
  name: z.string().optional(),
});

const agreement = z.strictObject({
  normalizedMutualInformation: z.number(),
  adjustedRand: z.number(),
  purity: z.number(),
});

/** Figures of one partition. */
const measures = z.strictObject({
  /** Share of the vectors' variance that lies between the clusters. */
  explainedVariance: z.number(),
  /** Mean over a sample; null where it holds a single cluster. */
  silhouette: z.number().nullable(),
  /** With the documents' own labels, where the corpus has them. */
  agreement: agreement.nullable(),
});

const quality = z.strictObject({
  /** Vectors that the variance is of: all documents, or the sample on which the clusters were found. */
  vectors: count,
  /** Vectors of the silhouette. */
  silhouetteSample: count,
  clusters: measures,
  /** Of a random partition with the same numbers of tokens. */
  random: measures,
  /** Documents of each label in each cluster: [E][names]. */
  domains: z.strictObject({ names: z.array(z.string()), documents: z.array(z.array(count)) }).nullable(),
});

const clustersSchema = z.strictObject({
  format: z.literal(1),
  method: z.enum(['kmeans', 'random', 'field', 'whole']),
  documents: count,
  tokens: count,
  /** The token vectors of eq. (1). */
  embedding: z.strictObject({
    source: z.enum(['corpus', 'tfidf', 'folder', 'model']),
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
  /** Left out of reports that were made before it was measured. */
  quality: quality.optional(),
  /** How they were found, beside what the recipe always says. */
  settings: z
    .strictObject({
      algorithm: z.enum(['lloyd', 'miniBatch']),
      balanced: z.enum(['none', 'documents', 'tokens']),
      tolerance: z.number(),
      sample: count.nullable(),
    })
    .optional(),
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

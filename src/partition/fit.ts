/** Algorithm 1, lines 1 and 2: documents to vectors, vectors to clusters. */
import { Random } from '../corpus/random.js';
import type { Recipe } from '../recipe/schema.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { capacityAssignment } from './capacity.js';
import {
  type DocumentIds,
  documentCount,
  meanVector,
  type Preparation,
  prepareVectors,
  vectorPieces,
} from './document-vectors.js';
import { type KMeansResult, kMeans } from './kmeans.js';
import { objective } from './lloyd.js';
import type { Matrix } from './model-file.js';
import { assignNearest, squaredDistances, sumClusters, sumOfSquares } from './nearest.js';
import type { Pause } from './pause.js';
import { tokensPerCluster } from './random-partition.js';
import { VectorRows } from './vector-rows.js';

export interface FitOptions {
  settings: Omit<Recipe['partition'], 'embedding'>;
  /** E. */
  clusters: number;
  seed: number;
  /** Tokens of each document that are trained on: [documents]. */
  tokens: Float64Array;
  /** Clusters that are given, as by a field of the documents; null: k-means finds them. */
  given: Int32Array | null;
  /** Where vectors may lie that do not fit into memory. */
  folder: string;
  pause: Pause;
  /** Told what is being done. */
  progress: (note: string, step?: number, steps?: number) => void;
}

/** Clusters numbered by falling tokens: the longest submodel is the first in a queue. Dispose it when done. */
export interface Fit extends Preparation {
  /** Cluster of every document of the store: int32 [documents]. */
  labels: Int32Array;
  /** How the vectors were clustered. */
  kmeans: Omit<KMeansResult, 'labels' | 'centroids'>;
  centroids: Matrix;
  /** The vectors that were clustered, prepared, less `kmeans.origin`: float32 [n, d]. */
  vectors: Tensor;
  /** The documents of the vectors, rising; null: all. */
  sample: Int32Array | null;
  dispose(): void;
}

/**
 * Clusters the documents of a store: all of them, or a sample, to which the others are then assigned.
 *
 * @param table float32 [V, d], on the device that computes
 */
export async function fitPartition(
  source: Omit<DocumentIds, 'sample'>,
  table: Tensor,
  options: FitOptions,
): Promise<Fit> {
  const { settings, clusters, seed, tokens, given, pause, progress } = options;
  const { device } = table;
  const sample = drawSample(source.store.documents, Math.max(settings.sample ?? Infinity, clusters), seed);
  const count = documentCount({ store: source.store, sample });
  const rows = new VectorRows(count, table.shape[1]!, device, options.folder);
  try {
    for await (const { first, vectors } of vectorPieces({ ...source, sample }, table, pause)) {
      rows.write(vectors, first);
      progress('document vectors', first + vectors.shape[0]!, count);
    }
    const vectors = rows.tensor;
    const mean = settings.center ? await meanVector(vectors, device, pause) : null;
    const preparation = { mean, normalize: settings.normalize };
    await prepareVectors(vectors, preparation, pause);
    const found =
      given === null
        ? await findClusters(vectors, sample, device, options)
        : await asGiven(vectors, pick(given, sample), { clusters, device, pause });
    const { labels: own, centroids, ...kmeans } = found;
    let labels = given ?? own;
    if (sample !== null && given === null) {
      labels = await assignAll({ ...source, sample: null }, table, centroids, preparation, options);
      // A document that fills a cluster that would be empty stays there.
      if (settings.balanced === 'none')
        for (const [i, document] of sample.entries()) labels[document] = own[i]!;
    }
    const order = byFallingTokens(tokensPerCluster(labels, tokens, clusters));
    const number = new Int32Array(clusters);
    for (const [k, old] of order.entries()) number[old] = k;
    return {
      ...preparation,
      labels: labels.map((label) => number[label]!),
      kmeans,
      centroids: reorder(centroids, order),
      vectors,
      sample,
      dispose: () => rows.dispose(),
    };
  } catch (error) {
    rows.dispose();
    throw error;
  }
}

/** `count` documents drawn at random, rising; null where that is all of them. */
function drawSample(documents: number, count: number, seed: number): Int32Array | null {
  if (count >= documents) return null;
  return new Random(seed, 'clustered documents').permutation(documents).slice(0, count).sort();
}

/** The values of the documents whose vectors were clustered. */
export function pick<A extends Int32Array | Float64Array>(values: A, sample: Int32Array | null): A {
  if (sample === null) return values;
  const picked = values.slice(0, sample.length) as A;
  for (const [i, document] of sample.entries()) picked[i] = values[document]!;
  return picked;
}

/** What each document counts towards the size of its cluster. */
function weightsOf({ settings, tokens }: FitOptions): Float64Array {
  return settings.balanced === 'tokens' ? tokens : new Float64Array(tokens.length).fill(1);
}

function findClusters(
  vectors: Tensor,
  sample: Int32Array | null,
  device: string,
  options: FitOptions,
): Promise<KMeansResult> {
  const { settings, clusters, seed, pause, progress } = options;
  const { algorithm, balanced, batchSize, maxIterations, restarts, tolerance } = settings;
  return kMeans(vectors, {
    clusters,
    seed,
    restarts,
    maxIterations,
    batchSize: algorithm === 'miniBatch' ? batchSize : null,
    limit: balanced === 'none' ? null : { weights: pick(weightsOf(options), sample), tolerance },
    device,
    pause,
    onIteration: ({ restart, iteration, inertia }) =>
      progress(
        `k-means start ${restart + 1}, iteration ${iteration}, inertia ${inertia.toPrecision(6)}`,
        Math.min(restart + 1, restarts),
        restarts,
      ),
  });
}

/** Clusters that need not be found: their centroids and their objective. */
async function asGiven(
  vectors: Tensor,
  labels: Int32Array,
  { clusters, device, pause }: { clusters: number; device: string; pause: Pause },
): Promise<KMeansResult> {
  const origin = await meanVector(vectors, device, pause);
  const d = origin.length;
  await prepareVectors(vectors, { mean: origin, normalize: false }, pause);
  const total = await sumOfSquares(vectors, { device, pause });
  const sums = await sumClusters(vectors, labels, clusters, { device, pause });
  const about = Float32Array.from(sums.sums, (sum, i) => sum / Math.max(1, sums.counts[Math.floor(i / d)]!));
  const inertia = objective(total, sums, about);
  const centroids = about.map((value, i) => value + origin[i % d]!);
  return { labels, centroids, inertia, iterations: 0, converged: true, total, inertias: [inertia], origin };
}

/** Assigns the documents of the whole store to centroids that were found on a sample, float32 [E, d]. */
async function assignAll(
  source: DocumentIds,
  table: Tensor,
  centroids: Float32Array,
  preparation: Preparation,
  options: FitOptions,
): Promise<Int32Array> {
  const { settings, clusters, pause, progress } = options;
  const { documents } = source.store;
  const points = torch.tensor(centroids, [clusters, table.shape[1]!], { device: table.device });
  const labels = new Int32Array(documents);
  const distances = settings.balanced === 'none' ? null : new Float32Array(documents * clusters);
  try {
    for await (const { vectors, first } of vectorPieces(source, table, pause)) {
      await prepareVectors(vectors, preparation, pause);
      if (distances === null) await assignNearest(vectors, points, labels.subarray(first), pause);
      else distances.set(await squaredDistances(vectors, points, pause), first * clusters);
      progress('clusters of all documents', first + vectors.shape[0]!, documents);
    }
  } finally {
    points.dispose();
  }
  if (distances === null) return labels;
  return capacityAssignment(distances, { weights: weightsOf(options), tolerance: settings.tolerance }, pause);
}

/** Clusters by falling tokens, of equally many the first. */
function byFallingTokens(tokens: Float64Array): Int32Array {
  return Int32Array.from(tokens.keys()).sort((a, b) => tokens[b]! - tokens[a]! || a - b);
}

/** Rows of [E, d] in another order. */
function reorder(values: Float32Array, order: Int32Array): Matrix {
  const columns = values.length / order.length;
  const moved = new Float32Array(values.length);
  for (const [k, old] of order.entries()) {
    moved.set(values.subarray(old * columns, (old + 1) * columns), k * columns);
  }
  return { rows: order.length, columns, values: moved };
}

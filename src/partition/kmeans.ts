/**
 * K-means (Algorithm 1, line 2): Lloyd's iterations from k-means++ centres, several restarts, exact. Distances are
 * float32 products, sums and the objective float64. The result follows from the vectors, the seed, the device and
 * the number of threads.
 *
 * Shapes: n vectors of d dimensions, E clusters.
 */
import { Random } from '../corpus/random.js';
import { RequestError } from '../errors.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { assignNearest, type ClusterSums, squaredDistances, sumClusters, sumOfSquares } from './nearest.js';
import type { Pause } from './pause.js';
import { plusPlusCentroids } from './plus-plus.js';

/** How to cluster. */
export interface KMeansOptions {
  /** E. */
  clusters: number;
  seed: number;
  /** Independent starts; the lowest objective is kept, of equal ones the first. */
  restarts: number;
  /** Lloyd iterations of one start at most. */
  maxIterations: number;
  /** Centroids to start from, row-major [E, d], instead of k-means++; then there is one start. */
  initial?: Float32Array;
  pause: Pause;
  /** Told after every iteration. */
  onIteration?: (state: { restart: number; iteration: number; inertia: number }) => void;
}

/** Where one start ended. */
interface Clustering {
  /** Cluster of each vector: int32 [n], every cluster with at least one member. */
  labels: Int32Array;
  /** float32 [E, d], row-major. */
  centroids: Float32Array;
  /** The objective: sum of squared distances of the vectors to the centroids of their clusters. */
  inertia: number;
  iterations: number;
  /** Whether the labels stopped changing before `maxIterations`. */
  converged: boolean;
}

/** The best start, and the objectives of all. */
export interface KMeansResult extends Clustering {
  /** Sum of squared distances to the mean of all vectors: the objective of a single cluster. */
  total: number;
  inertias: number[];
}

/**
 * Clusters vectors.
 *
 * @param vectors float32 [n, d], left as they are
 * @throws RequestError when there are fewer vectors than clusters
 */
export async function kMeans(vectors: Tensor, options: KMeansOptions): Promise<KMeansResult> {
  const [n, d] = vectors.shape as [number, number];
  const { clusters, pause } = options;
  if (n < clusters) {
    throw new RequestError('There are fewer vectors than clusters.', {
      expected: `at least ${clusters} vectors`,
      found: String(n),
    });
  }
  const mean = (await sumClusters(vectors, new Int32Array(n), 1, pause)).sums.map((sum) => sum / n);
  // Around their mean the vectors are small, and |x|^2 - 2 x c + |c|^2 loses no digits.
  const x = torch.scope(() => vectors.sub(row(mean, vectors.device)));
  try {
    const total = await sumOfSquares(x, pause);
    const inertias: number[] = [];
    let best: Clustering | null = null;
    const starts = options.initial === undefined ? options.restarts : 1;
    for (let restart = 0; restart < starts; restart++) {
      const start =
        options.initial === undefined
          ? await plusPlusCentroids(x, clusters, new Random(options.seed, 'k-means', restart), pause)
          : options.initial.map((value, i) => value - mean[i % d]!);
      const found = await lloyd(x, start, total, options, restart);
      inertias.push(found.inertia);
      if (best === null || found.inertia < best.inertia) best = found;
    }
    const centroids = best!.centroids.map((value, i) => value + mean[i % d]!);
    return { ...best!, centroids, total, inertias };
  } finally {
    x.dispose();
  }
}

/** Lloyd's iterations from `start` until the labels stay the same. */
async function lloyd(
  x: Tensor,
  start: Float32Array,
  total: number,
  { clusters, maxIterations, pause, onIteration }: KMeansOptions,
  restart: number,
): Promise<Clustering> {
  const d = x.shape[1]!;
  const labels = new Int32Array(x.shape[0]!).fill(-1);
  let centroids = start;
  for (let iteration = 1; ; iteration++) {
    const before = labels.slice();
    const points = torch.tensor(centroids, [clusters, d], { device: x.device });
    try {
      await assignNearest(x, points, labels, pause);
      await fillEmptyClusters(x, points, labels, pause);
    } finally {
      points.dispose();
    }
    const sums = await sumClusters(x, labels, clusters, pause);
    const inertia = objective(total, sums, centroids);
    onIteration?.({ restart, iteration, inertia });
    const converged = labels.every((label, i) => label === before[i]);
    if (converged || iteration > maxIterations) {
      return { labels, centroids, inertia, iterations: iteration - 1, converged };
    }
    centroids = Float32Array.from(sums.sums, (sum, i) => sum / sums.counts[Math.floor(i / d)]!);
  }
}

/** sum |x|^2 - 2 sum_k s_k c_k + sum_k n_k |c_k|^2, the sum of squared distances, in float64. */
function objective(total: number, { sums, counts }: ClusterSums, centroids: Float32Array): number {
  const d = centroids.length / counts.length;
  let inertia = total;
  for (let i = 0; i < centroids.length; i++) {
    const c = centroids[i]!;
    inertia += c * (counts[Math.floor(i / d)]! * c - 2 * sums[i]!);
  }
  return Math.max(0, inertia);
}

/**
 * Gives every empty cluster the vector that lies farthest from its own centroid, of equally far ones the first.
 * The last member of a cluster is not taken away.
 */
async function fillEmptyClusters(
  x: Tensor,
  centroids: Tensor,
  labels: Int32Array,
  pause: Pause,
): Promise<void> {
  const clusters = centroids.shape[0]!;
  const counts = new Float64Array(clusters);
  for (const label of labels) counts[label]!++;
  if (counts.every((count) => count > 0)) return;
  const distances = await squaredDistances(x, centroids, pause);
  const own = labels.map((_, i) => i).sort((a, b) => ownDistance(b) - ownDistance(a) || a - b);
  function ownDistance(i: number): number {
    return distances[i * clusters + labels[i]!]!;
  }
  let next = 0;
  for (let empty = 0; empty < clusters; empty++) {
    if (counts[empty]! > 0) continue;
    while (counts[labels[own[next]!]!]! < 2) next++;
    const taken = own[next++]!;
    counts[labels[taken]!]!--;
    labels[taken] = empty;
    counts[empty] = 1;
  }
}

function row(values: Float64Array, device: string): Tensor {
  return torch.tensor(values, [1, values.length], { dtype: 'float32', device });
}

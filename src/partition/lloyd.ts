/**
 * Lloyd's iterations: assign every vector, move every centroid to the mean of its members, until no label changes.
 * How vectors are assigned is given: to the nearest centroid, or under a limit on the sizes of clusters.
 *
 * Shapes: n vectors of d dimensions about their mean, E clusters.
 */
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { assignAndSum, type ClusterSums, ownDistances, sumClusters } from './nearest.js';
import type { Pause } from './pause.js';

/** Where one start ended. */
export interface Clustering {
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

export interface LloydOptions {
  /** E. */
  clusters: number;
  maxIterations: number;
  /** Sum of the squares of the vectors. */
  total: number;
  /** Where to compute. */
  device: string;
  pause: Pause;
  /** Writes a label for every vector and returns the sums of the clusters. */
  assign: (x: Tensor, centroids: Tensor, labels: Int32Array) => Promise<ClusterSums>;
  /** Told after every iteration. */
  onIteration: (iteration: number, inertia: number) => void;
}

/**
 * Iterates from `start`, float32 [E, d].
 * @param x float32 [n, d]; their mean is the origin
 */
export async function lloyd(x: Tensor, start: Float32Array, options: LloydOptions): Promise<Clustering> {
  const { clusters, maxIterations, total, device, assign, onIteration } = options;
  const d = x.shape[1]!;
  const labels = new Int32Array(x.shape[0]!).fill(-1);
  let centroids = start;
  for (let iteration = 1; ; iteration++) {
    const before = labels.slice();
    const points = torch.tensor(centroids, [clusters, d], { device });
    let sums: ClusterSums;
    try {
      sums = await assign(x, points, labels);
    } finally {
      points.dispose();
    }
    const inertia = objective(total, sums, centroids);
    onIteration(iteration, inertia);
    const converged = labels.every((label, i) => label === before[i]);
    if (converged || iteration > maxIterations) {
      return { labels, centroids, inertia, iterations: iteration - 1, converged };
    }
    centroids = Float32Array.from(sums.sums, (sum, i) => sum / sums.counts[Math.floor(i / d)]!);
  }
}

/** The assignment of plain k-means: the nearest centroid, and no cluster left empty. */
export function toNearest(pause: Pause): LloydOptions['assign'] {
  return async (x, centroids, labels) => {
    const found = await assignAndSum(x, centroids, labels, pause);
    if (found.counts.every((count) => count > 0)) return found;
    await fillEmptyClusters(x, centroids, labels, pause);
    return sumClusters(x, labels, found.counts.length, { device: centroids.device, pause });
  };
}

/** sum |x|^2 - 2 sum_k s_k c_k + sum_k n_k |c_k|^2, the sum of squared distances, in float64. */
export function objective(total: number, { sums, counts }: ClusterSums, centroids: Float32Array): number {
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
  const distances = await ownDistances(x, centroids, labels, pause);
  const own = labels.map((_, i) => i).sort((a, b) => distances[b]! - distances[a]! || a - b);
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

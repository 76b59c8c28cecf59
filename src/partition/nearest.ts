/**
 * The two passes over the vectors that Lloyd's algorithm repeats: nearest centroids, and sums per cluster. Both go
 * over the rows in pieces, so that memory beside the vectors stays small.
 *
 * Shapes: n vectors of d dimensions, E clusters.
 */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { Pause } from './pause.js';

/** Elements of a piece: small enough for the cache of a processor, large enough for its threads. */
const PIECE_ELEMENTS = 1 << 22;

/** Calls `body` for consecutive pieces of rows of `x` [n, d], each in its own scope. */
async function eachPiece(
  x: Tensor,
  pause: Pause,
  body: (rows: Tensor, first: number, count: number) => void,
): Promise<void> {
  const [n, d] = x.shape as [number, number];
  const size = Math.max(1, Math.floor(PIECE_ELEMENTS / Math.max(1, d)));
  for (let first = 0; first < n; first += size) {
    const count = Math.min(size, n - first);
    torch.scope(() => body(x.narrow(0, first, count), first, count));
    await pause();
  }
}

/** |c|^2 - 2 x c of every row and centroid: what decides which centroid is nearest. float32 [rows, E]. */
function scores(rows: Tensor, centroids: Tensor): Tensor {
  return centroids.square().sum(1).addmm(rows, centroids.t(), { alpha: -2 });
}

/**
 * Squared distances of every vector to every point, in float32 and not below 0.
 *
 * @param x float32 [n, d]
 * @param points float32 [p, d] on the same device
 * @returns row-major [n, p]
 */
export async function squaredDistances(x: Tensor, points: Tensor, pause: Pause): Promise<Float32Array> {
  const p = points.shape[0]!;
  const all = new Float32Array(x.shape[0]! * p);
  await eachPiece(x, pause, (rows, first) => {
    const distances = scores(rows, points)
      .add_(rows.square().sum(1, { keepdim: true }))
      .clampMin_(0);
    all.set(distances.toArray() as Float32Array, first * p);
  });
  return all;
}

/**
 * The nearest centroid of every vector; of equally near ones the lowest number.
 *
 * @param x float32 [n, d]
 * @param centroids float32 [E, d] on the same device
 * @param labels int32 [n], written
 */
export async function assignNearest(
  x: Tensor,
  centroids: Tensor,
  labels: Int32Array,
  pause: Pause,
): Promise<void> {
  const firstEqual = firstEqualRows(centroids);
  await eachPiece(x, pause, (rows, first) => {
    const nearest = scores(rows, centroids).argmin({ dim: 1 }).to({ dtype: 'int32' }).toArray() as Int32Array;
    nearest.forEach((found, i) => {
      labels[first + i] = firstEqual[found]!;
    });
  });
}

/**
 * For each row the first one that is equal to it. A matrix product may give equal columns different last bits, so
 * the order of equal centroids must not be left to it.
 */
function firstEqualRows(matrix: Tensor): Int32Array {
  const bytes = Buffer.from(matrix.bytes());
  const rows = matrix.shape[0]!;
  const width = bytes.length / rows;
  const seen = new Map<string, number>();
  return Int32Array.from({ length: rows }, (_, r) => {
    const key = bytes.toString('latin1', r * width, (r + 1) * width);
    if (!seen.has(key)) seen.set(key, r);
    return seen.get(key)!;
  });
}

/** Sums and counts of the members of each cluster. */
export interface ClusterSums {
  /** float64 [E, d], row-major. */
  sums: Float64Array;
  counts: Float64Array;
}

/**
 * Sums the vectors of each cluster in float64.
 *
 * @param x float32 [n, d]
 * @param labels int32 [n], each below `clusters`
 */
export async function sumClusters(
  x: Tensor,
  labels: Int32Array,
  clusters: number,
  pause: Pause,
): Promise<ClusterSums> {
  const d = x.shape[1]!;
  const { device } = x;
  const total = torch.zeros([clusters, d], { dtype: 'float64', device });
  const counts = new Float64Array(clusters);
  for (const label of labels) counts[label]!++;
  try {
    await eachPiece(x, pause, (rows, first, count) => {
      // A product with the one-hot labels: the sum over members runs on all threads in a fixed order.
      const members = torch
        .tensor(labels.subarray(first, first + count), [1, count], { dtype: 'int64', device })
        .eq(torch.arange(0, clusters, { dtype: 'int64', device }).unsqueeze(1));
      total.addmm_(members.to({ dtype: 'float64' }), rows.to({ dtype: 'float64' }));
    });
    return { sums: total.toArray() as Float64Array, counts };
  } finally {
    total.dispose();
  }
}

/** The sum of the squares of all elements of `x`, in float64. */
export async function sumOfSquares(x: Tensor, pause: Pause): Promise<number> {
  let total = 0;
  await eachPiece(x, pause, (rows) => {
    total += rows.to({ dtype: 'float64' }).square().sum(null).item();
  });
  return total;
}

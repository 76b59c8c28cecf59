/**
 * The passes over the vectors that k-means repeats: nearest centroids, and sums per cluster. They go over the rows
 * in pieces, so that memory beside the vectors stays small and a piece is still in the processor's cache when its
 * sums are taken. The vectors may lie elsewhere than where is computed (in a file, in main memory): pieces are moved.
 *
 * Shapes: n vectors of d dimensions, E clusters.
 */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { Pause } from './pause.js';

/** Elements of a piece: on a CPU small enough for its cache, on a GPU large enough to fill it. */
const PIECE_ELEMENTS = 1 << 19;
const PIECE_ELEMENTS_GPU = 1 << 24;
/** Elements between two pauses. */
const PAUSE_ELEMENTS = 1 << 22;
/** Of an embedding bag. */
const SUM = 0;

/** Calls `body` for consecutive pieces of rows of `x` [n, d], on `device`, each in its own scope. */
export async function eachPiece(
  x: Tensor,
  device: string,
  pause: Pause,
  body: (rows: Tensor, first: number, count: number) => void,
): Promise<void> {
  const [n, d] = x.shape as [number, number];
  const elements = device === 'cpu' ? PIECE_ELEMENTS : PIECE_ELEMENTS_GPU;
  const size = Math.max(1, Math.floor(elements / Math.max(1, d)));
  let since = 0;
  for (let first = 0; first < n; first += size) {
    const count = Math.min(size, n - first);
    torch.scope(() => body(x.narrow(0, first, count).to({ device }), first, count));
    since += count * d;
    if (since < PAUSE_ELEMENTS && first + size < n) continue;
    since = 0;
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
 * @param points float32 [p, d]; their device computes
 * @returns row-major [n, p]
 */
export async function squaredDistances(x: Tensor, points: Tensor, pause: Pause): Promise<Float32Array> {
  const p = points.shape[0]!;
  const all = new Float32Array(x.shape[0]! * p);
  await eachPiece(x, points.device, pause, (rows, first) => {
    const distances = scores(rows, points)
      .add_(rows.square().sum(1, { keepdim: true }))
      .clampMin_(0);
    all.set(distances.toArray() as Float32Array, first * p);
  });
  return all;
}

/**
 * Squared distance of every vector to the centroid of its cluster, in float32.
 *
 * @param labels int32 [n]
 * @returns [n]
 */
export async function ownDistances(
  x: Tensor,
  centroids: Tensor,
  labels: Int32Array,
  pause: Pause,
): Promise<Float32Array> {
  const { device } = centroids;
  const all = new Float32Array(labels.length);
  await eachPiece(x, device, pause, (rows, first, count) => {
    const own = centroids.indexSelect(
      0,
      torch.tensor(labels.subarray(first, first + count), [count], { device }),
    );
    all.set(rows.sub(own).square().sum(1).toArray() as Float32Array, first);
  });
  return all;
}

/**
 * The nearest centroid of every vector; of equally near ones the lowest number.
 *
 * @param x float32 [n, d]
 * @param centroids float32 [E, d]; their device computes
 * @param labels int32 [n], written
 */
export async function assignNearest(
  x: Tensor,
  centroids: Tensor,
  labels: Int32Array,
  pause: Pause,
): Promise<void> {
  const firstEqual = firstEqualRows(centroids);
  await eachPiece(x, centroids.device, pause, (rows, first) => {
    nearestOf(rows, centroids, firstEqual, labels, first);
  });
}

/**
 * Lloyd's pass: {@link assignNearest} and {@link sumClusters} of its labels in one go over the vectors.
 *
 * @param labels int32 [n], written
 */
export async function assignAndSum(
  x: Tensor,
  centroids: Tensor,
  labels: Int32Array,
  pause: Pause,
): Promise<ClusterSums> {
  const firstEqual = firstEqualRows(centroids);
  const [clusters, d] = centroids.shape as [number, number];
  const sums = new Sums(clusters, d, centroids.device);
  try {
    await eachPiece(x, centroids.device, pause, (rows, first, count) => {
      nearestOf(rows, centroids, firstEqual, labels, first);
      sums.add(rows, labels.subarray(first, first + count));
    });
    return sums.result();
  } finally {
    sums.dispose();
  }
}

function nearestOf(
  rows: Tensor,
  centroids: Tensor,
  firstEqual: Int32Array,
  labels: Int32Array,
  first: number,
): void {
  const nearest = scores(rows, centroids).argmin({ dim: 1 }).to({ dtype: 'int32' }).toArray() as Int32Array;
  for (let i = 0; i < nearest.length; i++) labels[first + i] = firstEqual[nearest[i]!]!;
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
 * Sums the vectors of each cluster: float32 within a piece, float64 over the pieces.
 *
 * @param x float32 [n, d]
 * @param labels int32 [n], each below `clusters`
 */
export async function sumClusters(
  x: Tensor,
  labels: Int32Array,
  clusters: number,
  { device, pause }: { device: string; pause: Pause },
): Promise<ClusterSums> {
  const sums = new Sums(clusters, x.shape[1]!, device);
  try {
    await eachPiece(x, device, pause, (rows, first, count) => {
      sums.add(rows, labels.subarray(first, first + count));
    });
    return sums.result();
  } finally {
    sums.dispose();
  }
}

/** Sums per cluster in the making. */
class Sums {
  readonly #total: Tensor;
  readonly #counts: Float64Array;

  constructor(clusters: number, d: number, device: string) {
    this.#total = torch.zeros([clusters, d], { dtype: 'float64', device });
    this.#counts = new Float64Array(clusters);
  }

  /** Adds the vectors of a piece. */
  add(rows: Tensor, labels: Int32Array): void {
    for (let i = 0; i < labels.length; i++) this.#counts[labels[i]!]!++;
    this.#total.add_(rows.device === 'cpu' ? this.#gather(rows, labels) : this.#multiply(rows, labels));
  }

  /** Reads every row once, in the order of the clusters: the cost is that of the memory. */
  #gather(rows: Tensor, labels: Int32Array): Tensor {
    const clusters = this.#counts.length;
    const offsets = new Int32Array(clusters);
    for (let i = 0; i < labels.length; i++) offsets[labels[i]!]!++;
    let start = 0;
    for (let k = 0; k < clusters; k++) {
      const size = offsets[k]!;
      offsets[k] = start;
      start += size;
    }
    const next = offsets.slice();
    const order = new Int32Array(labels.length);
    for (let i = 0; i < labels.length; i++) order[next[labels[i]!]!++] = i;
    return torch.embeddingBag(rows, torch.tensor(order), torch.tensor(offsets), { mode: SUM })[0];
  }

  /** A product with the one-hot labels: there the sum over members runs on all threads, in a fixed order. */
  #multiply(rows: Tensor, labels: Int32Array): Tensor {
    const { device } = rows;
    const members = torch
      .tensor(labels, [1, labels.length], { device })
      .eq(torch.arange(0, this.#counts.length, { dtype: 'int32', device }).unsqueeze(1));
    return members.to({ dtype: 'float32' }).mm(rows);
  }

  result(): ClusterSums {
    return { sums: this.#total.toArray() as Float64Array, counts: this.#counts };
  }

  dispose(): void {
    this.#total.dispose();
  }
}

/** The sum of the squares of all elements of `x`, in float64 over float32 rows. */
export async function sumOfSquares(
  x: Tensor,
  { device, pause }: { device: string; pause: Pause },
): Promise<number> {
  let total = 0;
  await eachPiece(x, device, pause, (rows) => {
    total += rows.square().sum(1).sum(null, { dtype: 'float64' }).item();
  });
  return total;
}

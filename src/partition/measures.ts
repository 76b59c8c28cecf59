/** How good clusters are, as far as the vectors that were clustered can tell. */
import { Random } from '../corpus/random.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { objective } from './lloyd.js';
import { sumClusters } from './nearest.js';
import type { Pause } from './pause.js';

/** Vectors of the silhouette: its cost grows with their square. */
const SILHOUETTE_SAMPLE = 2000;

/**
 * The share of the vectors' variance that lies between clusters: 1 - sum |x - c|^2 / sum |x|^2, with c the mean of the
 * vector's cluster.
 *
 * @param x float32 [n, d]; their mean is the origin
 * @param total sum of the squares of the vectors
 */
export async function explainedVariance(
  x: Tensor,
  labels: Int32Array,
  clusters: number,
  { total, device, pause }: { total: number; device: string; pause: Pause },
): Promise<number> {
  if (total === 0) return 0;
  const sums = await sumClusters(x, labels, clusters, { device, pause });
  const d = x.shape[1]!;
  const means = Float32Array.from(sums.sums, (sum, i) => sum / Math.max(1, sums.counts[Math.floor(i / d)]!));
  return 1 - objective(total, sums, means) / total;
}

/** Rows drawn at random, rising: all where there are no more. */
export function sampleRows(n: number, count: number, ...name: (string | number)[]): Int32Array {
  return new Random(...name).permutation(n).slice(0, Math.min(n, count)).sort();
}

/** Rows of a matrix, on the CPU or where `device` says. */
export function takeRows(x: Tensor, rows: Int32Array, device: string): Tensor {
  return torch.scope(() => x.indexSelect(0, torch.tensor(rows).to({ device: x.device })).to({ device }));
}

/** A silhouette and on how many vectors it rests. */
export interface Silhouette {
  value: number;
  sample: number;
}

/**
 * Mean silhouette (Rousseeuw 1987) of a sample: (b - a) / max(a, b), with a the mean distance to the other vectors of
 * the same cluster and b that to the vectors of the nearest other one; 0 for a vector alone in its cluster.
 *
 * @param labelings several labels of the same vectors, int32 [n] each
 * @returns one for each; null where the sample holds fewer than two clusters
 */
export function silhouettes(
  x: Tensor,
  labelings: readonly Int32Array[],
  { device, seed }: { device: string; seed: number },
): (Silhouette | null)[] {
  const rows = sampleRows(x.shape[0]!, SILHOUETTE_SAMPLE, seed, 'silhouette');
  const distances = torch.scope(() => {
    const taken = takeRows(x, rows, device).to({ dtype: 'float64' });
    const squares = taken.square().sum(1, { keepdim: true });
    const all = squares.add(squares.t()).sub_(taken.mm(taken.t()).mul_(2));
    return all.clampMin_(0).sqrt_().toArray() as Float64Array;
  });
  return labelings.map((labels) => {
    const value = silhouetteOf(
      distances,
      Int32Array.from(rows, (row) => labels[row]!),
    );
    return value === null ? null : { value, sample: rows.length };
  });
}

/** Mean silhouette from distances, row-major [m, m]. */
function silhouetteOf(distances: Float64Array, labels: Int32Array): number | null {
  const m = labels.length;
  const clusters = Math.max(-1, ...labels) + 1;
  const sizes = new Float64Array(clusters);
  for (const label of labels) sizes[label]!++;
  if (sizes.filter((size) => size > 0).length < 2) return null;
  let total = 0;
  const sums = new Float64Array(clusters);
  for (let i = 0; i < m; i++) {
    sums.fill(0);
    // A vector lies at no distance from itself, whatever rounding made of it.
    for (let j = 0; j < m; j++) if (j !== i) sums[labels[j]!]! += distances[i * m + j]!;
    const own = labels[i]!;
    if (sizes[own] === 1) continue;
    const inside = sums[own]! / (sizes[own]! - 1);
    let outside = Number.POSITIVE_INFINITY;
    for (let k = 0; k < clusters; k++) {
      if (k !== own && sizes[k]! > 0) outside = Math.min(outside, sums[k]! / sizes[k]!);
    }
    const larger = Math.max(inside, outside);
    if (larger > 0) total += (outside - inside) / larger;
  }
  return total / m;
}

/**
 * Mini-batch k-means (Sculley 2010), for corpora of which not every iteration can read all: a batch of vectors drawn at
 * random moves the centroids towards its means, the less the more vectors a centroid has already taken.
 *
 * Shapes: n vectors of d dimensions, E clusters, batches of b.
 */
import type { Random } from '../corpus/random.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { objective } from './lloyd.js';
import { assignAndSum, sumOfSquares } from './nearest.js';
import type { Pause } from './pause.js';

/**
 * Moves centroids by `batches` batches.
 *
 * @param x float32 [n, d]
 * @param centroids float32 [E, d], row-major, moved
 * @param onBatch told the number of the batch and its mean squared distance
 */
export async function miniBatches(
  x: Tensor,
  centroids: Float32Array,
  options: {
    batches: number;
    batchSize: number;
    random: Random;
    device: string;
    pause: Pause;
    onBatch: (batch: number, inertia: number) => void;
  },
): Promise<void> {
  const { batches, batchSize, random, device, pause, onBatch } = options;
  const [n, d] = x.shape as [number, number];
  const clusters = centroids.length / d;
  const taken = new Float64Array(clusters);
  const labels = new Int32Array(Math.min(batchSize, n));
  for (let batch = 1; batch <= batches; batch++) {
    const rows = drawRows(x, labels.length, random, device);
    const points = torch.tensor(centroids, [clusters, d], { device });
    try {
      const { sums, counts } = await assignAndSum(rows, points, labels, pause);
      onBatch(batch, objective(await sumOfSquares(rows, { device, pause }), { sums, counts }, centroids));
      for (let k = 0; k < clusters; k++) {
        if (counts[k] === 0) continue;
        taken[k]! += counts[k]!;
        for (let i = k * d; i < (k + 1) * d; i++) {
          centroids[i]! += (sums[i]! - counts[k]! * centroids[i]!) / taken[k]!;
        }
      }
    } finally {
      rows.dispose();
      points.dispose();
    }
  }
}

/** `count` rows of `x` drawn at random, with replacement, in the order in which they lie: [count, d]. */
export function drawRows(x: Tensor, count: number, random: Random, device: string): Tensor {
  const n = x.shape[0]!;
  const rows = Int32Array.from({ length: count }, () => random.below(n)).sort();
  return torch.scope(() => x.indexSelect(0, torch.tensor(rows).to({ device: x.device })).to({ device }));
}

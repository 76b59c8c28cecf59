/**
 * k-means++ (Arthur and Vassilvitskii 2007): the first centre at random, every next one with a probability
 * proportional to its squared distance to the nearest centre so far. In its greedy form, as scikit-learn has it:
 * of 2 + ln E candidates the one that leaves the smallest sum of squared distances.
 */
import type { Random } from '../corpus/random.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { squaredDistances } from './nearest.js';
import type { Pause } from './pause.js';

/**
 * @param x float32 [n, d]
 * @param options where to compute, and when to pause
 * @returns centroids float32 [E, d], row-major: vectors of `x`
 */
export async function plusPlusCentroids(
  x: Tensor,
  clusters: number,
  random: Random,
  { device, pause }: { device: string; pause: Pause },
): Promise<Float32Array> {
  const [n, d] = x.shape as [number, number];
  const centroids = new Float32Array(clusters * d);
  const trials = 2 + Math.floor(Math.log(clusters));
  let closest = new Float64Array(n).fill(Number.POSITIVE_INFINITY);
  for (let k = 0; k < clusters; k++) {
    const drawn = k === 0 ? [random.below(n)] : drawByWeight(closest, trials, random);
    const candidates = [...new Set(drawn)];
    const points = torch.scope(() =>
      x.indexSelect(0, torch.tensor(Int32Array.from(candidates)).to({ device: x.device })).to({ device }),
    );
    try {
      const distances = await squaredDistances(x, points, pause);
      const best = smallestSum(closest, distances, candidates);
      const width = candidates.length;
      closest = closest.map((value, i) => Math.min(value, distances[i * width + best]!));
      closest[candidates[best]!] = 0;
      const values = points.toArray() as Float32Array;
      centroids.set(values.subarray(best * d, (best + 1) * d), k * d);
    } finally {
      points.dispose();
    }
  }
  return centroids;
}

/** `count` indices, each drawn with a probability proportional to its weight; uniform where all are 0. */
function drawByWeight(weights: Float64Array, count: number, random: Random): number[] {
  let total = 0;
  for (const weight of weights) total += weight;
  const targets = Array.from({ length: count }, () => random.uniform() * total);
  if (total === 0) return targets.map(() => random.below(weights.length));
  return targets.map((target) => {
    let sum = 0;
    let last = 0;
    for (let i = 0; i < weights.length; i++) {
      if (weights[i]! === 0) continue;
      sum += weights[i]!;
      last = i;
      if (sum > target) break;
    }
    return last;
  });
}

/** Which candidate leaves the smallest sum of min(closest, distance); of equal ones the first. */
function smallestSum(closest: Float64Array, distances: Float32Array, candidates: readonly number[]): number {
  const width = candidates.length;
  if (width === 1) return 0;
  const sums = new Float64Array(width);
  closest.forEach((value, i) => {
    for (let j = 0; j < width; j++) sums[j]! += Math.min(value, distances[i * width + j]!);
  });
  return sums.indexOf(Math.min(...sums));
}

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Random } from '../../src/corpus/random.js';
import { bounds, capacityAssignment } from '../../src/partition/capacity.js';
import { type KMeansOptions, kMeans } from '../../src/partition/kmeans.js';
import * as torch from '../../src/torch/index.js';
import { expectNoLeaks, noPause } from './support.js';

expectNoLeaks();
// Tensors this small are not worth a second thread.
torch.setNumThreads(1);

/** The smallest sum of distances over all assignments with the given sizes at most, by trying all. */
function bestByTrying(distances: number[][], most: number, least: number): number {
  const clusters = distances[0]!.length;
  const loads = new Array<number>(clusters).fill(0);
  const from = (i: number): number => {
    if (i === distances.length) return loads.every((load) => load >= least) ? 0 : Number.POSITIVE_INFINITY;
    let best = Number.POSITIVE_INFINITY;
    for (let k = 0; k < clusters; k++) {
      if (loads[k]! >= most) continue;
      loads[k]!++;
      best = Math.min(best, distances[i]![k]! + from(i + 1));
      loads[k]!--;
    }
    return best;
  };
  return from(0);
}

test('the assignment under a limit costs nearly what the best one costs', async () => {
  const rows = fc.array(fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 3, maxLength: 3 }), {
    minLength: 3,
    maxLength: 8,
  });
  await fc.assert(
    fc.asyncProperty(rows, async (distances) => {
      const limit = { weights: distances.map(() => 1), tolerance: 0.05 };
      const { least, most } = bounds(limit, 3);
      const labels = await capacityAssignment(Float32Array.from(distances.flat()), limit, noPause);
      const sizes = [0, 1, 2].map((k) => labels.filter((label) => label === k).length);
      expect(Math.max(...sizes)).toBeLessThanOrEqual(most);
      expect(Math.min(...sizes)).toBeGreaterThanOrEqual(least);
      const cost = [...labels].reduce((sum, label, i) => sum + distances[i]![label]!, 0);
      // Upper limits are met at the least cost; what the lower ones need is moved one by one.
      expect(cost).toBeLessThanOrEqual(1.5 * bestByTrying(distances, most, least) + 10);
    }),
    { numRuns: 60, seed: 4 },
  );
});

test('balanced clusters keep within the tolerance, in vectors or in weights, and cost a little', async () => {
  const random = new Random('balanced');
  // Two groups, one four times as large; weights that differ by a factor of ten.
  const n = 500;
  const data = Float32Array.from({ length: 2 * n }, (_, i) => (i < 1.6 * n ? 0 : 6) + random.uniform() * 4);
  const weights = Float64Array.from({ length: n }, () => 1 + random.below(10));
  const cluster = async (limit: KMeansOptions['limit']) => {
    const x = torch.tensor(data, [n, 2]);
    const found = await kMeans(x, {
      clusters: 2,
      seed: 0,
      restarts: 2,
      maxIterations: 50,
      batchSize: null,
      limit,
      device: 'cpu',
      pause: noPause,
    });
    x.dispose();
    return found;
  };
  const free = await cluster(null);
  expect(free.labels.filter((label) => label === free.labels[0])).toHaveLength(400);
  for (const w of [new Float64Array(n).fill(1), weights]) {
    const found = await cluster({ weights: w, tolerance: 0.02 });
    const all = w.reduce((sum, one) => sum + one, 0);
    const first = w.reduce((sum, one, i) => sum + (found.labels[i] === 0 ? one : 0), 0);
    expect(Math.abs(first / (all / 2) - 1)).toBeLessThan(0.025);
    expect(found.inertia).toBeGreaterThan(free.inertia);
    expect(found.inertia).toBeLessThan(found.total);
  }
});

test('a document heavier than the limit: the others make room, and it ends', async () => {
  const weights = [100, 1, 1, 1, 1, 1];
  const distances = Float32Array.from(weights.flatMap(() => [0, 1]));
  const labels = await capacityAssignment(distances, { weights, tolerance: 0.05 }, noPause);
  expect(labels[0]).not.toBe(labels[1]);
  expect(new Set(labels.slice(1)).size).toBe(1);
});

test('equal vectors do not go round in circles', async () => {
  const n = 200;
  const distances = new Float32Array(n * 4).fill(3);
  const limit = { weights: new Float64Array(n).fill(1), tolerance: 0.05 };
  const labels = await capacityAssignment(distances, limit, noPause);
  for (let k = 0; k < 4; k++) {
    const size = labels.filter((label) => label === k).length;
    expect(Math.abs(size - 50)).toBeLessThanOrEqual(3);
  }
});

test('mini-batches come near the objective of all vectors, and follow from the seed', async () => {
  const random = new Random('mini-batch');
  const data = Float32Array.from({ length: 3000 * 4 }, (_, i) => (Math.floor(i / 4) % 5) + random.uniform());
  const run = async (batchSize: number | null, seed = 0) => {
    const x = torch.tensor(data, [3000, 4]);
    const found = await kMeans(x, {
      clusters: 5,
      seed,
      restarts: 2,
      maxIterations: 30,
      batchSize,
      limit: null,
      device: 'cpu',
      pause: noPause,
    });
    x.dispose();
    return found;
  };
  const [exact, batches] = [await run(null), await run(128)];
  expect(batches.inertia / exact.inertia).toBeLessThan(1.05);
  expect(new Set(batches.labels).size).toBe(5);
  expect(await run(128)).toEqual(batches);
  expect((await run(128, 1)).inertias).not.toEqual(batches.inertias);
});

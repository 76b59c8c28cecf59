import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { readJson } from '../../src/formats/atomic.js';
import { SafetensorsReader } from '../../src/formats/safetensors.js';
import { type KMeansOptions, type KMeansResult, kMeans } from '../../src/partition/kmeans.js';
import * as torch from '../../src/torch/index.js';

const golden = fileURLToPath(new URL('../golden/partition/', import.meta.url));
const expected = readJson(
  `${golden}kmeans.json`,
  z.looseObject({
    cases: z.record(
      z.string(),
      z.object({ inertia: z.number(), iterations: z.number(), sizes: z.array(z.number()) }),
    ),
  }),
).cases;
const file = SafetensorsReader.open(`${golden}kmeans.safetensors`);
const floats = (name: string) => new Float32Array(file.read(name).slice().buffer);
const integers = (name: string) => new Int32Array(file.read(name).slice().buffer);

const base: Omit<KMeansOptions, 'clusters'> = {
  seed: 0,
  restarts: 4,
  maxIterations: 300,
  batchSize: null,
  limit: null,
  device: 'cpu',
  pause: async () => {},
};

/** Clusters rows of plain numbers and frees what it made. */
async function cluster(
  data: Float32Array,
  shape: number[],
  options: Partial<KMeansOptions>,
): Promise<KMeansResult> {
  const x = torch.tensor(data, shape);
  try {
    return await kMeans(x, { ...base, clusters: 2, ...options });
  } finally {
    x.dispose();
  }
}

/** The objective of labels and centroids, counted here. */
function inertiaOf(x: Float32Array, d: number, labels: Int32Array, centroids: Float32Array): number {
  let sum = 0;
  x.forEach((value, i) => {
    sum += (value - centroids[labels[Math.floor(i / d)]! * d + (i % d)]!) ** 2;
  });
  return sum;
}

let live = 0;
beforeAll(() => {
  live = torch.liveTensors();
});
afterAll(() => {
  file.close();
  expect(torch.liveTensors()).toBe(live);
});

describe.each(Object.keys(expected))('scikit-learn, same initial centroids: %s', (name) => {
  test('labels, centroids and objective', async () => {
    const x = floats(`${name}.x`);
    const d = file.info(`${name}.x`).shape[1]!;
    const initial = floats(`${name}.initial`);
    const found = await cluster(x, [x.length / d, d], { clusters: initial.length / d, initial });
    expect(found.labels).toEqual(integers(`${name}.labels`));
    floats(`${name}.centroids`).forEach((value, i) => {
      expect(found.centroids[i]).toBeCloseTo(value, 4);
    });
    expect(found.inertia / expected[name]!.inertia).toBeCloseTo(1, 5);
    expect(found.inertia).toBeCloseTo(inertiaOf(x, d, found.labels, found.centroids), 1);
    expect(found.converged).toBe(true);
  });
});

test('k-means++ and restarts find at least as good an objective as the given start', async () => {
  const x = floats('blobs.x');
  const found = await cluster(x, [x.length / 12, 12], { clusters: 7, restarts: 6 });
  expect(found.inertias).toHaveLength(6);
  expect(found.inertia).toBe(Math.min(...found.inertias));
  expect(found.inertia).toBeLessThan(1.02 * expected.blobs!.inertia);
  expect(found.total).toBeGreaterThan(found.inertia);
});

test('the same seed gives the same result, another one other starts', async () => {
  const x = floats('blobs.x');
  const run = (seed: number) => cluster(x, [x.length / 12, 12], { clusters: 7, seed, restarts: 3 });
  const first = await run(3);
  expect(await run(3)).toEqual(first);
  expect((await run(4)).inertias).not.toEqual(first.inertias);
});

test('well separated groups are found exactly', async () => {
  const x = Float32Array.from({ length: 300 }, (_, i) => (i % 3) * 100 + (i % 7));
  const { labels, inertia, total } = await cluster(x, [300, 1], { clusters: 3 });
  const label = [labels[0], labels[1], labels[2]];
  expect(new Set(label).size).toBe(3);
  expect([...labels].every((found, i) => found === label[i % 3])).toBe(true);
  expect(inertia / total).toBeLessThan(0.001);
});

test('every cluster has a member, whatever the vectors', async () => {
  const property = fc.asyncProperty(
    fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 4, maxLength: 24 }),
    fc.integer({ min: 1, max: 4 }),
    fc.nat(5),
    async (values, clusters, seed) => {
      const x = Float32Array.from(values);
      const found = await cluster(x, [values.length, 1], { clusters, seed, restarts: 2 });
      expect(new Set(found.labels).size).toBe(clusters);
      expect(found.inertia).toBeCloseTo(inertiaOf(x, 1, found.labels, found.centroids), 3);
    },
  );
  await fc.assert(property, { numRuns: 40, seed: 1 });
});

test('equally near centroids: the lowest number', async () => {
  const found = await cluster(Float32Array.from([0, 1, 2]), [3, 1], { initial: Float32Array.from([0, 2]) });
  expect([...found.labels]).toEqual([0, 0, 1]);
});

test('fewer vectors than clusters', async () => {
  await expect(cluster(new Float32Array(4), [2, 2], { clusters: 3 })).rejects.toMatchObject({
    exitStatus: 2,
  });
});

test('a stop between iterations ends it and leaves no tensor', async () => {
  let pauses = 0;
  const pause = async () => {
    if (++pauses > 3) throw new Error('stopped');
  };
  await expect(cluster(floats('blobs.x'), [800, 12], { clusters: 7, pause })).rejects.toThrow('stopped');
  expect(torch.liveTensors()).toBe(live);
});

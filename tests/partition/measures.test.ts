import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { readJson } from '../../src/formats/atomic.js';
import { SafetensorsReader } from '../../src/formats/safetensors.js';
import { agreementOf, contingency } from '../../src/partition/agreement.js';
import { prepareVectors, vectorPieces } from '../../src/partition/document-vectors.js';
import { documentMap } from '../../src/partition/map.js';
import { explainedVariance, silhouettes } from '../../src/partition/measures.js';
import { makeTfidfTable } from '../../src/partition/tfidf-table.js';
import * as torch from '../../src/torch/index.js';
import { expectNoLeaks, makeStore, noPause, temporaryFolder } from './support.js';

const folder = temporaryFolder();
expectNoLeaks();

const golden = fileURLToPath(new URL('../golden/partition/', import.meta.url));
const numbers = z.array(z.number());
const expected = readJson(
  `${golden}measures.json`,
  z.looseObject({
    agreement: z.array(
      z.object({
        clusters: numbers,
        domains: numbers,
        normalizedMutualInformation: z.number(),
        adjustedRand: z.number(),
        purity: z.number(),
      }),
    ),
    silhouette: z.number(),
    tfidf: z.object({
      documents: z.array(numbers),
      terms: z.number(),
      rank: z.number(),
      products: z.array(numbers),
    }),
  }),
);

test.each(expected.agreement.map((one, i) => [i, one] as const))(
  'agreement of labels as in scikit-learn: %i',
  (_, one) => {
    const sizes = { clusters: Math.max(...one.clusters) + 1, domains: Math.max(...one.domains) + 1 };
    const table = contingency(Int32Array.from(one.clusters), Int32Array.from(one.domains), sizes);
    const found = agreementOf(table);
    for (const key of ['normalizedMutualInformation', 'adjustedRand', 'purity'] as const) {
      expect(found[key]).toBeCloseTo(one[key], 9);
    }
  },
);

test('documents without a label take no part; one cluster and one domain agree', () => {
  const table = contingency(Int32Array.of(0, 1, 1), Int32Array.of(0, -1, 1), { clusters: 2, domains: 2 });
  expect(table).toEqual([
    [1, 0],
    [0, 1],
  ]);
  expect(agreementOf([[5]])).toEqual({ normalizedMutualInformation: 1, adjustedRand: 1, purity: 1 });
});

/** The blobs of the k-means golden file, about their mean. */
async function blobs(): Promise<{ x: torch.Tensor; labels: Int32Array; total: number }> {
  const file = SafetensorsReader.open(`${golden}kmeans.safetensors`);
  const x = torch.tensor(new Float32Array(file.read('blobs.x').slice().buffer), [800, 12]);
  const labels = new Int32Array(file.read('blobs.labels').slice().buffer);
  file.close();
  const mean = torch.scope(() => x.mean(0).toArray() as Float32Array);
  await prepareVectors(x, { mean, normalize: false }, noPause);
  const total = torch.scope(() => x.square().sum(null).item());
  return { x, labels, total };
}

test('silhouette as in scikit-learn; a single cluster has none', async () => {
  const { x, labels } = await blobs();
  const [found, none] = silhouettes(x, [labels, new Int32Array(800)], { device: 'cpu', seed: 0 });
  expect(found!.value).toBeCloseTo(expected.silhouette, 6);
  expect(found!.sample).toBe(800);
  expect(none).toBeNull();
  x.dispose();
});

test('explained variance: all of it for clusters of single points, none for one cluster', async () => {
  const { x, labels, total } = await blobs();
  const options = { total, device: 'cpu', pause: noPause };
  const found = await explainedVariance(x, labels, 7, options);
  expect(found).toBeGreaterThan(0.3);
  expect(found).toBeLessThan(0.7);
  expect(await explainedVariance(x, new Int32Array(800), 1, options)).toBeCloseTo(0, 5);
  const alone = Int32Array.from({ length: 800 }, (_, i) => i);
  expect(await explainedVariance(x, alone, 800, options)).toBeCloseTo(1, 5);
  x.dispose();
});

test('the map shows the plane of largest variance', async () => {
  const { x, labels, total } = await blobs();
  const map = await documentMap(x, labels, new Float32Array(12), { seed: 0, device: 'cpu', pause: noPause });
  const squares = torch.scope(() => x.t().mm(x).linalgEigh()[0].toNumbers());
  expect(map.variance[0]).toBeCloseTo(squares.at(-1)! / total, 3);
  expect(map.variance[1]).toBeCloseTo(squares.at(-2)! / total, 3);
  expect(map.documents).toHaveLength(800);
  expect(map.documents.map(({ cluster }) => cluster)).toEqual([...labels]);
  expect(map.centroids).toEqual([{ x: 0, y: 0, cluster: 0 }]);
  x.dispose();
});

test('tf-idf with a truncated SVD and unit length, by eq. (1), as in scikit-learn', async () => {
  const { documents, terms, rank, products } = expected.tfidf;
  const store = await makeStore(`${folder()}/tfidf`, documents, terms + 1);
  // The token behind the terms is none.
  const ofToken = Int32Array.from({ length: terms + 1 }, (_, id) => (id < terms ? id : -1));
  const made = await makeTfidfTable(store, {
    terms: { ofToken, count: terms },
    dimension: rank,
    maxTokens: 1e6,
    limit: 1e6,
    seed: 0,
    device: 'cpu',
    pause: noPause,
  });
  const source = { store, limit: 1e6, retokenize: null, sample: null };
  for await (const { vectors } of vectorPieces(source, made.weight, noPause)) {
    await prepareVectors(vectors, { mean: null, normalize: true }, noPause);
    torch.scope(() => {
      const found = vectors.mm(vectors.t()).toNumbers();
      found.forEach((value, i) => {
        expect(value).toBeCloseTo(products.flat()[i]!, 3);
      });
    });
  }
  expect((made.weight.toArray() as Float32Array).slice(terms * rank)).toEqual(new Float32Array(rank));
  made.weight.dispose();
  store.close();
});

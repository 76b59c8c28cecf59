import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Random } from '../../src/corpus/random.js';
import { countCooccurrence } from '../../src/partition/cooccurrence.js';
import { makeCorpusTable, positiveMutualInformation } from '../../src/partition/corpus-table.js';
import { denseMap, truncatedSvd } from '../../src/partition/low-rank.js';
import { readSample, sampleDocuments } from '../../src/partition/sample.js';
import * as torch from '../../src/torch/index.js';
import { expectNoLeaks, makeStore, noPause, temporaryFolder } from './support.js';

const folder = temporaryFolder();
expectNoLeaks();

const V = 6;
const documentsOf = fc.array(fc.array(fc.nat(V - 1), { maxLength: 12 }), { minLength: 1, maxLength: 5 });
const typed = (documents: number[][]) => () => documents.map((ids) => Int32Array.from(ids));

test('co-occurrence is what counting pair by pair gives', async () => {
  await fc.assert(
    fc.asyncProperty(
      documentsOf,
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 40 }),
      async (documents, window, cells) => {
        const found = await countCooccurrence(typed(documents), V, window, noPause, cells);
        const near = new Map<string, number>();
        for (const ids of documents) {
          ids.forEach((a, i) => {
            ids.forEach((b, j) => {
              if (i !== j && Math.abs(i - j) <= window)
                near.set(`${a} ${b}`, (near.get(`${a} ${b}`) ?? 0) + 1);
            });
          });
        }
        const rows = found.tokens.length;
        expect(found.contexts).toBe(Math.min(rows, Math.max(1, Math.floor(cells / Math.max(1, rows)))));
        expect(rows).toBe(new Set(documents.flat()).size);
        found.tokens.forEach((t, r) => {
          expect(found.frequencies[r]).toBe(documents.flat().filter((id) => id === t).length);
          if (r > 0) expect(found.frequencies[r - 1]!).toBeGreaterThanOrEqual(found.frequencies[r]!);
          for (let c = 0; c < found.contexts; c++) {
            expect(found.counts[r * found.contexts + c]).toBe(near.get(`${t} ${found.tokens[c]}`) ?? 0);
          }
        });
      },
    ),
    { numRuns: 60, seed: 2 },
  );
});

test('positive mutual information by its definition', () => {
  const counts = Int32Array.of(4, 2, 0, 2, 0, 1, 0, 1, 0);
  const near = { tokens: Int32Array.of(0, 1, 2), contexts: 3, counts };
  const found = torch.scope(() => positiveMutualInformation(near, 'cpu').toNumbers());
  const sum = (list: number[]) => list.reduce((a, b) => a + b, 0);
  const column = (c: number) => counts[c]! + counts[3 + c]! + counts[6 + c]!;
  const smoothed = [0, 1, 2].map((c) => column(c) ** 0.75);
  found.forEach((value, i) => {
    const [r, c] = [Math.floor(i / 3), i % 3];
    const row = sum([...counts.subarray(3 * r, 3 * r + 3)]);
    const ratio = counts[i]! / 10 / ((row / 10) * (smoothed[c]! / sum(smoothed)));
    expect(value).toBeCloseTo(Math.max(0, Math.log(ratio)), 5);
  });
  expect(found.some((value) => value > 0)).toBe(true);
});

test('a token that stands alone and a table without any pair are harmless', () => {
  const found = torch.scope(() =>
    positiveMutualInformation(
      { tokens: Int32Array.of(0, 1), contexts: 2, counts: new Int32Array(4) },
      'cpu',
    ).toNumbers(),
  );
  expect(found).toEqual([0, 0, 0, 0]);
});

test('the truncated SVD is that of LAPACK', async () => {
  const random = new Random('svd');
  const [m, n, k] = [60, 40, 5];
  // Singular values that fall as 1 / j.
  const data = Float32Array.from({ length: m * n }, () => random.uniform() - 0.5);
  const matrix = torch.tensor(data, [m, n]);
  const { vectors, values, rank } = await truncatedSvd(denseMap(matrix), k, new Random(1), noPause);
  const [u, s] = torch.scope(() => {
    const [left, singular] = torch.linalgSvd(matrix.to({ dtype: 'float64' }), { fullMatrices: false });
    return [left.toNumbers(), singular.toNumbers()];
  });
  matrix.dispose();
  expect(rank).toBe(k);
  for (let j = 0; j < k; j++) {
    expect(values[j]! / s[j]!).toBeCloseTo(1, 2);
    if (j >= 2) continue;
    let product = 0;
    for (let i = 0; i < m; i++) product += vectors[i * k + j]! * u[i * n + j]!;
    expect(Math.abs(product)).toBeGreaterThan(0.99);
    const column = Array.from({ length: m }, (_, i) => vectors[i * k + j]!);
    expect(column.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a))).toBeGreaterThan(0);
  }
});

test('a rank beyond the matrix is that of the matrix', async () => {
  const matrix = torch.tensor(Float32Array.of(3, 0, 0, 0, 2, 0), [2, 3]);
  const { values, rank } = await truncatedSvd(denseMap(matrix), 9, new Random(1), noPause);
  matrix.dispose();
  expect(rank).toBe(2);
  expect([...values].map((value) => value.toFixed(4))).toEqual(['3.0000', '2.0000']);
});

test('tokens of one subject lie together, and the table follows from the seed', async () => {
  const random = new Random('subjects');
  // Tokens 0 to 3 are everywhere, 4 to 9 of one subject, 10 to 15 of the other; 16 never occurs.
  const documents = Array.from({ length: 40 }, (_, d) =>
    Array.from({ length: 30 }, () =>
      random.uniform() < 0.4 ? random.below(4) : 4 + 6 * (d % 2) + random.below(6),
    ),
  );
  const store = await makeStore(`${folder()}/subjects`, documents, 17);
  const make = async (device = 'cpu') => {
    const made = await makeCorpusTable(store, {
      vocabularySize: 17,
      dimension: 4,
      window: 3,
      maxTokens: 1e6,
      limit: 1e6,
      seed: 0,
      device,
      pause: noPause,
    });
    const rows = made.weight.toArray() as Float32Array;
    made.weight.dispose();
    return { ...made, rows };
  };
  const { rows, counted, distinct } = await make();
  expect([counted, distinct, rows.length]).toEqual([1200, 16, 17 * 4]);
  const row = (t: number) => rows.subarray(4 * t, 4 * t + 4);
  const cosine = (a: number, b: number) => {
    const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, i) => sum + value * y[i]!, 0);
    return dot(row(a), row(b)) / Math.sqrt(dot(row(a), row(a)) * dot(row(b), row(b)));
  };
  expect(cosine(4, 9)).toBeGreaterThan(cosine(4, 10) + 0.5);
  expect(cosine(11, 15)).toBeGreaterThan(cosine(11, 5) + 0.5);
  expect([...row(16)]).toEqual([0, 0, 0, 0]);
  expect((await make()).rows).toEqual(rows);
  store.close();
});

test('a sample keeps to its bounds and to the order of the corpus', async () => {
  const store = await makeStore(`${folder()}/sample`, [[1, 2, 3], [], [4, 5], [6, 7, 8, 9]], 10);
  expect(sampleDocuments(store, 100, 0)).toEqual(
    [0, 1, 2, 3].map((document) => ({ document, tokens: store.length(document) })),
  );
  expect(sampleDocuments(store, 100, 0, 2).map(({ tokens }) => tokens)).toEqual([2, 0, 2, 2]);
  const some = sampleDocuments(store, 5, 3);
  expect(some.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(5);
  expect(some.map(({ document }) => document)).toEqual([...some.map(({ document }) => document)].sort());
  expect([...readSample(store, [{ document: 3, tokens: 2 }])].map((ids) => [...ids])).toEqual([[6, 7]]);
  store.close();
});

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { documentsOfCluster, readAssignment, writeAssignment } from '../../src/partition/assignment.js';
import { readPartitionModel, writePartitionModel } from '../../src/partition/model-file.js';
import { reportHtml, reportMarkdown } from '../../src/partition/pages.js';
import { type Clusters, readClusters } from '../../src/partition/report.js';
import { temporaryFolder } from './support.js';

const folder = temporaryFolder();

test('an assignment comes back as it was written', () => {
  const assignment = { clusters: 3, labels: Int32Array.of(2, 0, 1, 1, 2) };
  writeAssignment(folder(), assignment);
  expect(readAssignment(folder())).toEqual(assignment);
  expect([...documentsOfCluster(assignment, 2)]).toEqual([0, 4]);
  expect(() => documentsOfCluster(assignment, 3)).toThrow('no such cluster');
});

const changed = (bytes: Buffer, change: (copy: Buffer) => void): Buffer => {
  change(bytes);
  return bytes;
};

test.each<[string, (bytes: Buffer) => Buffer]>([
  ['empty', () => Buffer.alloc(0)],
  ['another file', (bytes) => Buffer.concat([Buffer.from('x'), bytes])],
  ['a newer format', (bytes) => changed(bytes, (copy) => copy.writeUInt32LE(2, 8))],
  ['truncated', (bytes) => bytes.subarray(0, bytes.length - 4)],
  ['a forged count', (bytes) => changed(bytes, (copy) => copy.writeBigUInt64LE(2n ** 63n, 16))],
  ['a cluster too many', (bytes) => changed(bytes, (copy) => copy.writeInt32LE(3, 24))],
  ['a negative cluster', (bytes) => changed(bytes, (copy) => copy.writeInt32LE(-1, 28))],
])('%s is refused', (_, damage) => {
  const file = join(folder(), 'assignment.bin');
  writeAssignment(folder(), { clusters: 3, labels: Int32Array.of(2, 0, 1) });
  writeFileSync(file, damage(readFileSync(file)));
  expect(() => readAssignment(folder())).toThrow(expect.objectContaining({ exitStatus: 2, file }));
});

test('a missing assignment is named', () => {
  expect(() => readAssignment('/nowhere')).toThrow(expect.objectContaining({ exitStatus: 2 }));
});

test('a partition model comes back as it was written', async () => {
  const matrix = (rows: number, columns: number) => ({
    rows,
    columns,
    values: Float32Array.from({ length: rows * columns }, (_, i) => i / 3),
  });
  const shared = { method: 'kmeans', normalize: true, centroids: matrix(2, 3) } as const;
  const own = {
    ...shared,
    mean: Float32Array.of(1, 2, 3),
    limit: Number.POSITIVE_INFINITY,
    embedding: { table: matrix(5, 3) },
  };
  await writePartitionModel(folder(), own);
  expect(readPartitionModel(folder())).toEqual(own);
  const elsewhere = {
    ...shared,
    normalize: false,
    mean: null,
    limit: 64,
    embedding: { folder: '/models/x', sha256: 'ab' },
  };
  await writePartitionModel(folder(), elsewhere);
  expect(readPartitionModel(folder())).toEqual(elsewhere);
  await writePartitionModel(folder(), { ...own, mean: Float32Array.of(1, 2) });
  expect(() => readPartitionModel(folder())).toThrow('different dimensions');
});

const report: Clusters = {
  format: 1,
  method: 'kmeans',
  documents: 5,
  tokens: 100,
  embedding: { source: 'corpus', dimension: 2, rows: 9, description: 'made up' },
  center: true,
  normalize: false,
  kmeans: { inertia: 1, explainedVariance: 0.5, iterations: 3, converged: true, inertias: [1, 2] },
  clusters: [
    {
      cluster: 0,
      documents: 3,
      tokens: 60,
      share: 0.6,
      sha256: 'a',
      terms: ['song', 'film'],
      samples: [{ document: 1, text: '<b> | *x*' }],
    },
    { cluster: 1, documents: 2, tokens: 40, share: 0.4, sha256: 'b', terms: [], samples: [] },
  ],
  smallestShare: 0.4,
  imbalance: 1.2,
  divergence: { nats: 0.2, maximum: 0.6 },
  randomDivergence: { nats: 0.01, maximum: 0.6 },
  tokenDifferences: null,
};

test('clusters.json is checked when it is read', () => {
  const file = join(folder(), 'clusters.json');
  const write = (value: unknown) => writeFileSync(file, JSON.stringify(value));
  write(report);
  expect(readClusters(folder())).toEqual(report);
  write({ ...report, format: 2 });
  expect(() => readClusters(folder())).toThrow('newer version');
  write({ ...report, clusters: 'none' });
  expect(() => readClusters(folder())).toThrow(expect.objectContaining({ key: 'clusters' }));
  expect(() => readClusters('/nowhere')).toThrow(
    expect.objectContaining({ hint: 'moe-disco partition RUN makes it' }),
  );
});

test('the report for people has sizes, words, costs, and text that is not markup', () => {
  const text = reportMarkdown(report);
  expect(text).toContain('| 0 | 3 | 60 | 60.0 % | 100.0 % | song, film |');
  expect(text).toContain(
    '1.20 times what it would with equal clusters and takes as much longer: 16.7 % of what',
  );
  expect(text).toContain('\\<b\\> | \\*x\\*');
});

test('the page needs nothing else, and text of strangers stays text', async () => {
  const hostile = '<script>alert(1)</script>"><img src=x onerror=alert(1)>\u202e& <a href="javascript:x">';
  const [first, second] = report.clusters;
  const clusters = [
    { ...first!, terms: [hostile], samples: [{ document: 1, text: hostile }], name: hostile },
    second!,
  ];
  const measures = { explainedVariance: 0.4, silhouette: 0.1, agreement: null };
  const quality = {
    vectors: 5,
    silhouetteSample: 5,
    clusters: measures,
    random: measures,
    domains: { names: [hostile], documents: [[3], [2]] },
  };
  const map = {
    documents: [{ x: 0, y: 1, cluster: 0 }],
    centroids: [{ x: 1, y: 0, cluster: 1 }],
    variance: [0.5, 0.25] as [number, number],
  };
  const method = 'field' as const;
  const page = await reportHtml({ ...report, method, clusters, quality }, map);
  expect(page).not.toMatch(/<script|<img|<a |<link|<iframe|@import|url\(|\u202e/);
  expect(page).not.toMatch(/https?:/);
  expect(page.match(/&lt;script&gt;alert/g)!.length).toBeGreaterThanOrEqual(4);
  expect(page.match(/<svg/g)).toHaveLength(2);
  expect(page).toContain('prefers-color-scheme: dark');
  expect(reportMarkdown({ ...report, method, clusters, quality })).not.toMatch(/(?<!\\)<script/);
});

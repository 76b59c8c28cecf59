import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Random } from '../../src/corpus/random.js';
import { TextTokenizer } from '../../src/corpus/tokenizer.js';
import { writeSafetensors } from '../../src/formats/safetensors.js';
import { TokenStore } from '../../src/formats/token-store.js';
import { Assigner } from '../../src/partition/assign.js';
import { documentsOfCluster, readAssignment } from '../../src/partition/assignment.js';
import { readClusters } from '../../src/partition/report.js';
import { partitionCorpus } from '../../src/partition/stage.js';
import type { StageRun } from '../../src/run/context.js';
import { RunFolder } from '../../src/run/folder.js';
import { runOnCorpus, type SmallRun } from '../runs.js';
import { expectNoLeaks, root, temporaryFolder } from './support.js';

const folder = temporaryFolder();
expectNoLeaks();

const SUBJECTS = [
  'song album singer guitar band chorus melody record',
  'river lake mountain valley road bridge forest island',
].map((words) => words.split(' '));

/** Lines of two subjects in turn, with the words that every text has. */
function writeLines(file: string, lines: number, seed: number): string {
  const random = new Random('lines', seed);
  const line = (i: number) =>
    Array.from({ length: 24 }, () => {
      const list = random.uniform() < 0.4 ? ['the', 'of', 'and', 'in'] : SUBJECTS[i % 2]!;
      return list[random.below(list.length)];
    }).join(' ');
  writeFileSync(file, Array.from({ length: lines }, (_, i) => line(i)).join('\n'));
  return file;
}

/** Clusters of a store's documents by a saved partition. */
async function assignDocuments(path: string, store: TokenStore, tokenizer: TextTokenizer) {
  const assigner = await Assigner.open(path, tokenizer);
  try {
    return (await assigner.assign(store)).labels;
  } finally {
    assigner.dispose();
  }
}

let runs = 0;
/** A run with its corpus built. */
function start(...overrides: string[]): Promise<SmallRun> {
  const name = join(folder(), `run-${runs++}`);
  const files = {
    train: writeLines(`${name}.train.txt`, 60, 1),
    held: writeLines(`${name}.other.txt`, 10, 2),
  };
  return runOnCorpus(name, files, overrides);
}

const partitionFolder = ({ context }: SmallRun) => context.run.stageFolder('partition');

test('two subjects become two clusters, every file agrees, and new documents are assigned alike', async () => {
  const started = await start();
  const done = await partitionCorpus(started.context);
  const path = partitionFolder(started);
  const assignment = readAssignment(path);
  expect(assignment.labels).toHaveLength(60);
  expect([...assignment.labels].every((label, i) => label === assignment.labels[i % 2])).toBe(true);
  expect(assignment.labels[0]).not.toBe(assignment.labels[1]);

  const report = readClusters(path);
  expect(report.clusters.map((c) => c.documents)).toEqual([30, 30]);
  expect(report.clusters[0]!.tokens).toBeGreaterThanOrEqual(report.clusters[1]!.tokens);
  report.clusters.forEach((c) => {
    expect(c.documents).toBe(documentsOfCluster(assignment, c.cluster).length);
    expect(done.hashes[`cluster/${c.cluster}`]).toBe(c.sha256);
    const subject = SUBJECTS.find((words) => words.includes(c.terms[0]!))!;
    expect(c.terms.every((word) => subject.includes(word))).toBe(true);
    for (const { document, text } of c.samples) {
      expect(assignment.labels[document]).toBe(c.cluster);
      expect(subject.some((word) => text.includes(word))).toBe(true);
    }
  });
  expect(report.divergence.nats).toBeGreaterThan(5 * report.randomDivergence.nats);
  expect(done.hashes.assignment).toBe(done.outputs.find((o) => o.name === 'assignment.bin')!.sha256);
  expect(readFileSync(join(path, 'report.md'), 'utf8')).toContain('| cluster | documents |');
  expect(started.progress.map((state) => state.note?.split(' ')[0])).toContain('k-means');
  expect(started.said.join('\n')).toContain('partition: 2 clusters of 60 documents');

  const corpus = started.context.run.stage('corpus');
  const tokenizer = await TextTokenizer.load(corpus.path('tokenizer.json'));
  const [train, validation] = [corpus.path('train'), corpus.path('validation')].map((p) =>
    TokenStore.open(p),
  );
  expect(await assignDocuments(path, train!, tokenizer)).toEqual(assignment.labels);
  const fresh = await assignDocuments(path, validation!, tokenizer);
  expect([...fresh]).toEqual(Array.from({ length: 10 }, (_, i) => assignment.labels[i % 2]));
  train!.close();
  validation!.close();
});

test('the same recipe gives the same bytes; a finished partition is not made again; another seed is refused', async () => {
  const [first, second] = [await start(), await start()];
  const done = await partitionCorpus(first.context);
  expect((await partitionCorpus(second.context)).outputs).toEqual(done.outputs);
  const told = first.progress.length;
  expect(await partitionCorpus(first.context)).toEqual(done);
  expect(first.progress).toHaveLength(told);
  const other = { ...first.context, recipe: { ...first.context.recipe, seed: 1 } };
  await expect(partitionCorpus(other)).rejects.toMatchObject({ exitStatus: 2, key: 'seed' });
});

test('random: the sizes of the clusters without their subjects', async () => {
  const started = await start('partition.method=random');
  const done = await partitionCorpus(started.context);
  const path = partitionFolder(started);
  const report = readClusters(path);
  expect(report.tokenDifferences!.every((difference) => Math.abs(difference) <= 3)).toBe(true);
  expect(report.divergence.nats).toBeLessThan(0.1);
  expect(new Set(readAssignment(path).labels)).toEqual(new Set([0, 1]));
  expect(Object.keys(done.hashes).sort()).toEqual(['assignment', 'cluster/0', 'cluster/1']);
  const corpus = started.context.run.stage('corpus');
  const store = TokenStore.open(corpus.path('train'));
  const tokenizer = await TextTokenizer.load(corpus.path('tokenizer.json'));
  await expect(assignDocuments(path, store, tokenizer)).rejects.toMatchObject({
    exitStatus: 2,
    found: 'random',
  });
  store.close();
});

test('whole: one cluster of all documents', async () => {
  const started = await start('partition.method=whole');
  const done = await partitionCorpus(started.context);
  const { clusters, labels } = readAssignment(partitionFolder(started));
  expect([clusters, labels.length, new Set(labels).size]).toEqual([1, 60, 1]);
  expect(Object.keys(done.hashes)).toEqual(['assignment', 'cluster/0']);
  const report = readClusters(partitionFolder(started));
  expect([report.smallestShare, report.imbalance, report.divergence.nats]).toEqual([1, 1, 0]);
  expect(report.clusters[0]!.terms).toHaveLength(12);
  expect(report.quality!.clusters).toMatchObject({ silhouette: null, agreement: null });
  expect(report.quality!.clusters.explainedVariance).toBeCloseTo(0, 12);
});

/** A folder whose table has the sign of the subject in its first column. */
async function embeddingFolder(name: string, flip = 1): Promise<string> {
  const path = join(folder(), name);
  mkdirSync(path, { recursive: true });
  const file = `${root}data/tokenizer/bpe-4096.json`;
  copyFileSync(file, join(path, 'tokenizer.json'));
  const tokenizer = await TextTokenizer.load(file);
  const values = new Float32Array(4096 * 2);
  for (const [s, words] of SUBJECTS.entries()) {
    for (const ids of await tokenizer.encode(words.map((word) => ` ${word}`))) {
      for (const id of ids) values[2 * id] = (1 - 2 * s) * flip;
    }
  }
  const bytes = new Uint8Array(values.buffer);
  await writeSafetensors(join(path, 'model.safetensors'), [
    { name: 'model.embed_tokens.weight', dtype: 'F32', shape: [4096, 2], write: (sink) => sink(bytes) },
  ]);
  return path;
}

test('the table of a folder: clusters by it, is known by its content, may be gone afterwards', async () => {
  const path = await embeddingFolder('embedding');
  const started = await start('partition.embedding.source=folder', `partition.embedding.folder=${path}`);
  const done = await partitionCorpus(started.context);
  const { labels } = readAssignment(partitionFolder(started));
  expect([...labels].every((label, i) => label === labels[i % 2])).toBe(true);
  expect(labels[0]).not.toBe(labels[1]);

  const corpus = started.context.run.stage('corpus');
  const tokenizer = await TextTokenizer.load(corpus.path('tokenizer.json'));
  const store = TokenStore.open(corpus.path('train'));
  expect(await assignDocuments(partitionFolder(started), store, tokenizer)).toEqual(labels);
  await embeddingFolder('embedding', -1);
  await expect(assignDocuments(partitionFolder(started), store, tokenizer)).rejects.toThrow('not the one');
  store.close();
  await expect(partitionCorpus(started.context)).rejects.toMatchObject({ key: 'input embedding' });
  rmSync(path, { recursive: true });
  expect(await partitionCorpus(started.context)).toEqual(done);
});

test('a stop ends it with 75 and nothing half-written; the next time it is made', async () => {
  const started = await start();
  started.stop.requested = true;
  await expect(partitionCorpus(started.context)).rejects.toMatchObject({ exitStatus: 75 });
  expect(() => readAssignment(partitionFolder(started))).toThrow();
  started.stop.requested = false;
  expect((await partitionCorpus(started.context)).hashes.assignment).toMatch(/^[0-9a-f]{64}$/);
});

test('a run without a corpus, and fewer documents than experts', async () => {
  const started = await start();
  const empty = { ...started.context, run: new RunFolder(join(folder(), 'nothing')) };
  await expect(partitionCorpus(empty)).rejects.toMatchObject({
    exitStatus: 2,
    hint: expect.stringContaining('disco corpus'),
  });
  const { model } = started.context.recipe;
  const many = {
    ...started.context,
    recipe: { ...started.context.recipe, model: { config: { ...model.config, num_experts: 61 } } },
  };
  await expect(partitionCorpus(many as StageRun)).rejects.toMatchObject({ exitStatus: 2, found: '60' });
});

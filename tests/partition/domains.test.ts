import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { beforeAll, expect, test } from 'vitest';
import { Random } from '../../src/corpus/random.js';
import { readLabels } from '../../src/formats/labels.js';
import { assignFiles } from '../../src/partition/assign-files.js';
import { documentsOfCluster, readAssignment } from '../../src/partition/assignment.js';
import { readClusters } from '../../src/partition/report.js';
import { partitionCorpus } from '../../src/partition/stage.js';
import * as torch from '../../src/torch/index.js';
import { copyOfRun, runOnCorpus, type SmallRun } from '../runs.js';
import { expectNoLeaks, root, temporaryFolder } from './support.js';

const folder = temporaryFolder();
expectNoLeaks();

interface Labelled {
  text: string;
  domain: string;
}

/** Four real domains of 48 documents each: the web, questions, an encyclopaedia and source code. */
function mixedCorpus(): Labelled[] {
  const lines = readFileSync(`${root}tests/golden/partition/domains/sample.jsonl`, 'utf8').trim().split('\n');
  const sample = lines.map((line) => JSON.parse(line) as Labelled);
  const wiki = gunzipSync(readFileSync(`${root}data/wikitext-2/valid.txt.gz`)).toString('utf8');
  const articles = wiki.split(/\n (?== [^=])/).filter((text) => text.length > 1500);
  const paragraphs = articles.map((text) => text.slice(0, 900)).slice(0, 48);
  const sources = readdirSync(`${root}src/torch/generated`).concat(readdirSync(`${root}src/partition`));
  const code = sources
    .filter((name) => name.endsWith('.ts'))
    .flatMap((name) => {
      const text = readFileSync(
        join(root, 'src', /^(functions|methods)/.test(name) ? 'torch/generated' : 'partition', name),
        'utf8',
      );
      return [text.slice(0, 900), text.slice(900, 1800)];
    })
    .filter((text) => text.length > 400)
    .slice(0, 48);
  const all = [
    ...sample,
    ...paragraphs.map((text) => ({ text, domain: 'encyclopaedia' })),
    ...code.map((text) => ({ text, domain: 'code' })),
  ];
  const order = new Random('mixed').permutation(all.length);
  return Array.from(order, (i) => all[i]!);
}

// Tensors this small are not worth a second thread.
torch.setNumThreads(1);

const documents = mixedCorpus();
let corpusRun: SmallRun;
let trainFile = '';

beforeAll(async () => {
  const write = (name: string, list: Labelled[]): string => {
    const file = join(folder(), name);
    writeFileSync(file, list.map((one) => JSON.stringify(one)).join('\n'));
    return file;
  };
  trainFile = write('train.jsonl', documents.slice(16));
  corpusRun = await runOnCorpus(
    join(folder(), 'corpus'),
    { train: trainFile, held: write('held.jsonl', documents.slice(0, 16)) },
    [
      ...['train', 'validation', 'test'].map((split) => `corpus.${split}.format=jsonl`),
      'corpus.labelField=domain',
      'model.config.num_experts=4',
    ],
  );
});

/** The run, partitioned in a way of its own. */
async function partitioned(name: string, changes: object, embedding: object = { dimension: 16 }) {
  const context = copyOfRun(corpusRun.context, join(folder(), name));
  const { recipe } = context;
  const partition = { ...recipe.partition, restarts: 2, ...changes };
  partition.embedding = { ...partition.embedding, ...embedding };
  const own = { ...context, recipe: { ...recipe, partition } };
  const done = await partitionCorpus(own);
  const path = own.run.stageFolder('partition');
  return { context: own, done, path, report: readClusters(path) };
}

const train = documents.slice(16);

test('clusters of four real domains agree with them, a random partition does not', async () => {
  const { context, path, report } = await partitioned('found', {});
  const labels = readLabels(context.run.stage('corpus').path('labels.jsonl'), train.length);
  expect(labels.names).toEqual(['code', 'encyclopaedia', 'questions', 'web']);
  expect(Array.from(labels.ofDocument, (i) => labels.names[i])).toEqual(train.map((one) => one.domain));

  const { quality, divergence, randomDivergence } = report;
  const { clusters, random, domains } = quality!;
  expect(clusters.agreement!.normalizedMutualInformation).toBeGreaterThan(0.5);
  expect(clusters.agreement!.purity).toBeGreaterThan(0.7);
  expect(random.agreement!.normalizedMutualInformation).toBeLessThan(0.15);
  expect(Math.abs(random.agreement!.adjustedRand)).toBeLessThan(0.1);
  expect(clusters.explainedVariance).toBeGreaterThan(3 * random.explainedVariance);
  expect(clusters.silhouette!).toBeGreaterThan(random.silhouette! + 0.1);
  expect(divergence.nats).toBeGreaterThan(2 * randomDivergence.nats);
  expect(domains!.documents.flat().reduce((sum, count) => sum + count, 0)).toBe(train.length);

  const { labels: assigned } = readAssignment(path);
  const source = {
    path: [trainFile],
    format: 'jsonl' as const,
    textField: 'text',
    onBadDocument: 'stop' as const,
  };
  const again = [];
  for await (const one of assignFiles(context.run, source, { unit: 'document', device: 'cpu' }))
    again.push(one);
  expect(again.map(({ cluster }) => cluster)).toEqual([...assigned]);
  expect(again.map(({ line }) => line)).toEqual(train.map((_, i) => i + 1));
  expect(again.every(({ distance }) => distance > 0 && distance < 2)).toBe(true);
});

test('field: a cluster for each label, which must be as many as there are experts', async () => {
  const { context, done, path, report } = await partitioned('given', { method: 'field' });
  expect(done.inputs.labels).toMatch(/^[0-9a-f]{64}$/);
  const assignment = readAssignment(path);
  for (const { cluster, name } of report.clusters) {
    const members = documentsOfCluster(assignment, cluster);
    expect(new Set(Array.from(members, (i) => train[i]!.domain))).toEqual(new Set([name]));
  }
  expect(report.quality!.clusters.agreement!.adjustedRand).toBe(1);

  const other = copyOfRun(corpusRun.context, join(folder(), 'five'));
  const { recipe } = context;
  const five = { ...recipe, model: { config: { ...recipe.model.config, num_experts: 5 } } };
  await expect(partitionCorpus({ ...other, recipe: five })).rejects.toMatchObject({
    exitStatus: 2,
    key: 'partition.method',
    found: expect.stringContaining('4 (code, encyclopaedia, questions, web)'),
  });
});

test('tf-idf, a sample, mini-batches and balance together: sizes are held over all documents', async () => {
  const settings = { algorithm: 'miniBatch', balanced: 'documents', sample: 120 };
  const { report } = await partitioned(
    'balanced',
    { ...settings, batchSize: 64, center: false },
    { source: 'tfidf', stopWords: 'english' },
  );
  for (const cluster of report.clusters) {
    expect(Math.abs(cluster.documents / (train.length / 4) - 1)).toBeLessThan(0.06);
    expect(cluster.terms.length).toBeGreaterThan(0);
  }
  expect(report.settings).toEqual({ ...settings, tolerance: 0.05 });
  expect(report.quality!.vectors).toBe(120);
  expect(report.quality!.clusters.agreement!.normalizedMutualInformation).toBeGreaterThan(0.4);
});

test('model: the table that the untrained model starts with, and a warning', async () => {
  const { context, done, report } = await partitioned('model', {}, { source: 'model' });
  expect(corpusRun.said.join('\n')).toContain('Its table is random');
  expect(done.reads).toMatchObject({ embedding: { source: 'model', vocab_size: 4096 } });
  expect(report.embedding.dimension).toBe(context.recipe.model.config.hidden_size);
});

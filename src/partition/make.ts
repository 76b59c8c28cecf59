/** Makes the files of a partition: table, clusters, report. */
import { Random } from '../corpus/random.js';
import type { TextTokenizer } from '../corpus/tokenizer.js';
import { writeFileAtomic, writeJson } from '../formats/atomic.js';
import type { TokenStore } from '../formats/token-store.js';
import { expertCount } from '../recipe/check.js';
import type { StageRun } from '../run/context.js';
import type { StageContext, StageResult } from '../run/stage.js';
import type { Tensor } from '../torch/index.js';
import { retokenization } from './assign.js';
import { writeAssignment } from './assignment.js';
import { jensenShannon, readClusterTokens } from './cluster-tokens.js';
import { makeCorpusTable } from './corpus-table.js';
import type { DocumentIds } from './document-vectors.js';
import { type Fit, fitPartition } from './fit.js';
import type { FolderTable } from './folder-table.js';
import { type PartitionModel, writePartitionModel } from './model-file.js';
import type { Pause } from './pause.js';
import { randomPartition, tokensPerCluster } from './random-partition.js';
import { CLUSTERS_FILE, type Clusters, clustersMarkdown } from './report.js';
import { readSample, sampleDocuments } from './sample.js';
import { beginning, ClusterWords } from './terms.js';

const TERMS = 12;
const SAMPLES = 4;
const SAMPLE_CHARACTERS = 120;
/** Tokens whose words are counted for the report. */
const REPORT_TOKENS = 4_000_000;

export interface MakeRequest {
  context: StageRun;
  stage: StageContext;
  store: TokenStore;
  /** The corpus's. */
  tokenizer: TextTokenizer;
  /** The table of a folder, or null: one is made from the corpus. */
  table: FolderTable | null;
  inputs: Record<string, string>;
  pause: Pause;
}

/** A table that is loaded and how documents are looked up in it. */
interface LoadedTable {
  weight: Tensor;
  retokenize: DocumentIds['retokenize'];
  model: (weight: Tensor) => PartitionModel['embedding'];
  description: string;
}

/** Clusters, writes the four files, and says what came of it. */
export async function makePartition(request: MakeRequest): Promise<StageResult> {
  const { context, stage, store, pause } = request;
  const { recipe, reporter } = context;
  const clusters = expertCount(recipe);
  const limit = recipe.corpus.batch === 'padded' ? recipe.corpus.sequenceLength : Number.POSITIVE_INFINITY;
  const progress = (note: string, step?: number, steps?: number): void =>
    reporter.progress({
      stage: 'partition',
      note,
      ...(step !== undefined && steps !== undefined && { step, steps }),
    });

  progress('token embeddings');
  const table = await loadTable(request, limit);
  let fit: Fit;
  let model: PartitionModel;
  try {
    const { partition: settings, seed } = recipe;
    const source = { store, limit, retokenize: table.retokenize };
    fit = await fitPartition(source, table.weight, { settings, clusters, seed, pause, progress });
    const { centroids, mean, normalize } = fit;
    model = {
      method: settings.method,
      centroids,
      mean,
      normalize,
      limit,
      embedding: table.model(table.weight),
    };
  } finally {
    table.weight.dispose();
  }

  progress('report');
  const report = await describe(request, fit, { clusters, limit, description: table.description });
  const { assertOwned } = stage;
  const assignment = writeAssignment(stage.folder, { clusters, labels: report.labels }, assertOwned);
  const outputs = [
    assignment,
    await writePartitionModel(stage.folder, model, assertOwned),
    writeJson(stage.path(CLUSTERS_FILE), report.clusters, assertOwned),
    writeFileAtomic(stage.path('clusters.md'), clustersMarkdown(report.clusters), assertOwned),
  ];
  const hashes = Object.fromEntries(report.clusters.clusters.map((c) => [`cluster/${c.cluster}`, c.sha256]));
  sayResult(context, report.clusters);
  return {
    outputs,
    hashes: { assignment: assignment.sha256, ...hashes },
    summary: summaryOf(report.clusters),
  };
}

async function loadTable(request: MakeRequest, limit: number): Promise<LoadedTable> {
  const { context, store, tokenizer, table, inputs, pause } = request;
  const { device, recipe } = context;
  if (table !== null) {
    return {
      weight: await table.read(device, pause),
      retokenize: retokenization(tokenizer, table.tokenizer),
      model: () => ({ folder: table.folder, sha256: inputs.embedding! }),
      description: `${table.tensor} of ${table.folder}`,
    };
  }
  const { dimension, window, maxTokens } = recipe.partition.embedding;
  const made = await makeCorpusTable(store, {
    vocabularySize: tokenizer.largestId + 1,
    dimension,
    window,
    maxTokens,
    limit,
    seed: recipe.seed,
    device,
    pause,
  });
  const contexts = made.contexts < made.distinct ? `, ${made.contexts} contexts` : '';
  return {
    weight: made.weight,
    retokenize: null,
    model: (weight) => {
      const [rows, columns] = weight.shape as [number, number];
      return { table: { rows, columns, values: weight.toArray() as Float32Array } };
    },
    description:
      `positive mutual information of ${made.distinct} tokens within ${window} places${contexts}, counted over ` +
      `${made.counted} tokens, truncated SVD, smooth inverse frequency`,
  };
}

/** Labels in the end, and all that the report says of them. */
async function describe(
  { context, store, tokenizer, table, pause }: MakeRequest,
  fit: Fit,
  { clusters, limit, description }: { clusters: number; limit: number; description: string },
): Promise<{ labels: Int32Array; clusters: Clusters }> {
  const { partition, seed } = context.recipe;
  const random = partition.method === 'random';
  const lengths = Float64Array.from({ length: store.documents }, (_, d) => Math.min(limit, store.length(d)));
  const permuted = randomPartition(
    fit.kmeans.labels,
    lengths,
    clusters,
    new Random(seed, 'random partition'),
  );
  const labels = random ? permuted : fit.kmeans.labels;
  const held = await readClusterTokens(store, labels, permuted, {
    clusters,
    vocabularySize: tokenizer.largestId + 1,
    limit,
    pause,
  });
  const samples = random ? firstDocuments(labels, clusters) : fit.typical;
  const tokens = tokensPerCluster(labels, lengths, clusters);
  const counterpart = tokensPerCluster(fit.kmeans.labels, lengths, clusters);
  const all = tokens.reduce((sum, n) => sum + n, 0);
  const words = await countWords(store, tokenizer, labels, { clusters, limit, seed, pause });
  const list: Clusters['clusters'] = [];
  for (const [k, terms] of words.characteristic(TERMS).entries()) {
    const texts = [];
    for (const document of samples[k]!) {
      const text = await tokenizer.decode(store.document(document, SAMPLE_CHARACTERS));
      texts.push({ document, text: beginning(text, SAMPLE_CHARACTERS) });
    }
    list.push({
      cluster: k,
      documents: labels.reduce((sum, label) => sum + (label === k ? 1 : 0), 0),
      tokens: tokens[k]!,
      share: tokens[k]! / all,
      sha256: held.hashes[k]!,
      terms,
      samples: texts,
    });
  }
  const { inertia, total, iterations, converged, inertias } = fit.kmeans;
  return {
    labels,
    clusters: {
      format: 1,
      method: partition.method,
      documents: store.documents,
      tokens: all,
      embedding: {
        source: partition.embedding.source,
        dimension: fit.centroids.columns,
        rows: table?.rows ?? tokenizer.largestId + 1,
        description,
      },
      center: partition.center,
      normalize: partition.normalize,
      kmeans: {
        inertia,
        explainedVariance: total > 0 ? 1 - inertia / total : 0,
        iterations,
        converged,
        inertias,
      },
      clusters: list,
      smallestShare: Math.min(...list.map((c) => c.share)),
      imbalance: (Math.max(...tokens) * clusters) / all,
      divergence: jensenShannon(held.counts),
      randomDivergence: jensenShannon(held.otherCounts),
      tokenDifferences: random ? Array.from(tokens, (n, k) => n - counterpart[k]!) : null,
    },
  };
}

async function countWords(
  store: TokenStore,
  tokenizer: TextTokenizer,
  labels: Int32Array,
  { clusters, limit, seed, pause }: { clusters: number; limit: number; seed: number; pause: Pause },
): Promise<ClusterWords> {
  const words = new ClusterWords(clusters);
  const sample = sampleDocuments(store, REPORT_TOKENS, seed, limit);
  let at = 0;
  for (const ids of readSample(store, sample)) {
    words.add(labels[sample[at++]!.document]!, await tokenizer.decode(ids));
    if (at % 64 === 0) await pause();
  }
  return words;
}

function firstDocuments(labels: Int32Array, clusters: number): number[][] {
  const first: number[][] = Array.from({ length: clusters }, () => []);
  labels.forEach((label, document) => {
    if (first[label]!.length < SAMPLES) first[label]!.push(document);
  });
  return first;
}

function summaryOf(report: Clusters): Record<string, number | number[] | string> {
  return {
    method: report.method,
    documents: report.clusters.map((c) => c.documents),
    tokens: report.clusters.map((c) => c.tokens),
    smallestShare: report.smallestShare,
    imbalance: report.imbalance,
    explainedVariance: report.kmeans.explainedVariance,
    divergence: report.divergence.nats,
    randomDivergence: report.randomDivergence.nats,
  };
}

function sayResult({ reporter }: StageRun, report: Clusters): void {
  const shares = report.clusters.map((c) => `${(100 * c.share).toFixed(0)} %`).join(', ');
  reporter.say(
    `partition: ${report.clusters.length} ${report.method === 'random' ? 'random ' : ''}clusters of ` +
      `${report.documents.toLocaleString('en')} documents (${shares} of the tokens); divergence ` +
      `${report.divergence.nats.toFixed(4)} nats, by chance ${report.randomDivergence.nats.toFixed(4)}`,
  );
  for (const c of report.clusters) {
    reporter.say(`  cluster ${c.cluster}: ${c.terms.slice(0, 8).join(', ') || '(no words of its own)'}`);
  }
}

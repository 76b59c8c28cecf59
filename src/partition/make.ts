/** Makes the files of a partition: table, clusters, report. */
import type { TextTokenizer } from '../corpus/tokenizer.js';
import { writeFileAtomic, writeJson } from '../formats/atomic.js';
import type { TokenStore } from '../formats/token-store.js';
import { submodelCount } from '../recipe/check.js';
import type { StageRun } from '../run/context.js';
import type { StageContext, StageResult } from '../run/stage.js';
import type { Tensor } from '../torch/index.js';
import { retokenization } from './assign.js';
import { writeAssignment } from './assignment.js';
import { makeCorpusTable } from './corpus-table.js';
import { describePartition } from './describe.js';
import type { DocumentIds } from './document-vectors.js';
import { type Fit, fitPartition } from './fit.js';
import type { FolderTable } from './folder-table.js';
import { type PartitionModel, writePartitionModel } from './model-file.js';
import type { Pause } from './pause.js';
import { CLUSTERS_FILE, type Clusters, clustersMarkdown } from './report.js';

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
  rows: number;
  retokenize: DocumentIds['retokenize'];
  model: (weight: Tensor) => PartitionModel['embedding'];
  description: string;
}

/** Clusters, writes the four files, and says what came of it. */
export async function makePartition(request: MakeRequest): Promise<StageResult> {
  const { context, stage, store, pause } = request;
  const { recipe, reporter } = context;
  const clusters = submodelCount(recipe);
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
  const report = await describePartition(store, fit, {
    recipe,
    tokenizer: request.tokenizer,
    limit,
    rows: table.rows,
    description: table.description,
    pause,
  });
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
      rows: table.rows,
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
    rows: tokenizer.largestId + 1,
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

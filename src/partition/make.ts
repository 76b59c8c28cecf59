/** Makes the files of a partition: table, clusters, report. */
import { existsSync } from 'node:fs';
import type { TextTokenizer } from '../corpus/tokenizer.js';
import { RequestError } from '../errors.js';
import { writeFileAtomic, writeJson } from '../formats/atomic.js';
import { type DocumentLabels, LABELS_FILE, readLabels } from '../formats/labels.js';
import type { TokenStore } from '../formats/token-store.js';
import { submodelCount } from '../recipe/check.js';
import type { StageRun } from '../run/context.js';
import type { StageContext, StageResult } from '../run/stage.js';
import { writeAssignment } from './assignment.js';
import { type Description, describePartition } from './describe.js';
import { fitPartition } from './fit.js';
import type { FolderTable } from './folder-table.js';
import { type PartitionModel, writePartitionModel } from './model-file.js';
import { reportHtml, reportMarkdown } from './pages.js';
import type { Pause } from './pause.js';
import { CLUSTERS_FILE, type Clusters } from './report.js';
import { loadTable } from './tables.js';

export interface MakeRequest {
  context: StageRun;
  stage: StageContext;
  store: TokenStore;
  /** The corpus's. */
  tokenizer: TextTokenizer;
  /** The table of a folder where it comes from one, and its hash. */
  folder: { table: FolderTable; sha256: string } | null;
  pause: Pause;
}

/** Clusters, writes the files, and says what came of it. */
export async function makePartition(request: MakeRequest): Promise<StageResult> {
  const { context, stage } = request;
  const { model, description } = await clusterAndDescribe(request);
  const { clusters, labels, map } = description;
  const { assertOwned } = stage;
  context.reporter.progress({ stage: 'partition', note: 'report' });
  const assignment = writeAssignment(
    stage.folder,
    { clusters: clusters.clusters.length, labels },
    assertOwned,
  );
  const outputs = [
    assignment,
    await writePartitionModel(stage.folder, model, assertOwned),
    writeJson(stage.path(CLUSTERS_FILE), clusters, assertOwned),
    writeFileAtomic(stage.path('report.md'), reportMarkdown(clusters), assertOwned),
    writeFileAtomic(stage.path('report.html'), await reportHtml(clusters, map), assertOwned),
  ];
  const hashes = Object.fromEntries(clusters.clusters.map((c) => [`cluster/${c.cluster}`, c.sha256]));
  sayResult(context, clusters);
  return {
    outputs,
    hashes: { assignment: assignment.sha256, ...hashes },
    summary: summaryOf(clusters),
  };
}

/** Everything that needs the vectors, which are freed at its end. */
async function clusterAndDescribe({
  context,
  stage,
  store,
  tokenizer,
  folder,
  pause,
}: MakeRequest): Promise<{ model: PartitionModel; description: Description }> {
  const { recipe, reporter, device } = context;
  const { partition: settings, seed } = recipe;
  const clusters = submodelCount(recipe);
  const limit = recipe.corpus.batch === 'padded' ? recipe.corpus.sequenceLength : Number.POSITIVE_INFINITY;
  const tokens = Float64Array.from({ length: store.documents }, (_, d) => Math.min(limit, store.length(d)));
  const labelsFile = context.run.stage('corpus').path(LABELS_FILE);
  const domains = existsSync(labelsFile) ? readLabels(labelsFile, store.documents) : null;
  const given = settings.method === 'field' ? requireDomains(domains, clusters) : null;
  const progress = (note: string, step?: number, steps?: number): void =>
    reporter.progress({
      stage: 'partition',
      note,
      ...(step !== undefined && steps !== undefined && { step, steps }),
    });

  progress('token embeddings');
  const table = await loadTable({ context, store, tokenizer, folder, limit, pause });
  try {
    const source = { store, limit, retokenize: table.retokenize };
    const options = { settings, clusters, seed, tokens, given, folder: stage.folder, pause, progress };
    const fit = await fitPartition(source, table.weight, options);
    try {
      const { centroids, mean, normalize } = fit;
      const { method } = settings;
      const model = { method, centroids, mean, normalize, limit, embedding: table.saved() };
      progress('measures');
      const description = await describePartition(store, fit, {
        recipe,
        tokenizer,
        limit,
        tokens,
        rows: table.weight.shape[0]!,
        description: table.description,
        domains,
        device,
        pause,
      });
      return { model, description };
    } finally {
      fit.dispose();
    }
  } finally {
    table.weight.dispose();
  }
}

/**
 * The clusters that a field of the documents gives.
 * @throws RequestError where documents have no label, or not as many different ones as there are experts
 */
function requireDomains(domains: DocumentLabels | null, clusters: number): Int32Array {
  const wanted = { key: 'partition.method', expected: `labels of ${clusters} different values` };
  if (domains === null) {
    throw new RequestError('The corpus keeps no labels of its documents.', {
      ...wanted,
      found: 'none',
      hint: 'corpus.labelField names the field that holds them',
    });
  }
  const without = domains.ofDocument.filter((label) => label < 0).length;
  if (without === 0 && domains.names.length === clusters) return domains.ofDocument;
  const shown = domains.names.slice(0, 8).join(', ');
  throw new RequestError('The labels of the documents are not one for each expert.', {
    ...wanted,
    found: `${domains.names.length} (${shown}${domains.names.length > 8 ? ', ...' : ''}), ${without} documents without one`,
    hint: 'model.config.num_experts is the number of clusters; method: kmeans needs no labels',
  });
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

/**
 * The partition stage: a cluster for every training document. Writes assignment.bin, centroids.safetensors,
 * clusters.json, report.md and report.html; the text itself is not rewritten.
 */
import { existsSync } from 'node:fs';
import { endTokenOf, vocabularyOf } from '../corpus/stage.js';
import { TextTokenizer } from '../corpus/tokenizer.js';
import { DataError, RequestError } from '../errors.js';
import { TokenStore } from '../formats/token-store.js';
import { submodelCount } from '../recipe/check.js';
import type { Recipe } from '../recipe/schema.js';
import type { StageRun } from '../run/context.js';
import { type Done, readDone } from '../run/done.js';
import { runStage } from '../run/stage.js';
import * as torch from '../torch/index.js';
import { FolderTable } from './folder-table.js';
import { makePartition } from './make.js';
import { pauseOf } from './pause.js';
import { tableDimension } from './tables.js';

/**
 * Clusters the training documents of a run, or returns the finished partition.
 *
 * @throws RequestError without a finished corpus; DataError where there are fewer documents than experts or the
 * embedding folder does not fit; StoppedError when asked to stop: the stage is short and begins anew.
 */
export async function partitionCorpus(context: StageRun): Promise<Done> {
  const { run, recipe, reporter, stop, device } = context;
  const corpusFolder = run.stage('corpus');
  const corpus = readDone(corpusFolder.folder);
  if (corpus === null) {
    throw new RequestError('The corpus of this run is not finished.', {
      file: corpusFolder.own,
      hint: `moe-disco corpus ${run.root}`,
    });
  }
  const pause = pauseOf(stop);
  const before = readDone(run.stageFolder('partition'));
  const folder = embeddingFolder(recipe);
  const table = folder === null ? null : await openFolder(folder, before);
  try {
    const inputs: Record<string, string> = {
      corpus: corpus.hashes.train!,
      tokenizer: corpus.hashes.tokenizer!,
      ...(recipe.partition.method === 'field' && { labels: corpus.hashes.labels ?? '' }),
    };
    if (folder !== null) {
      inputs.embedding = table === null ? before!.inputs.embedding! : await table.hash(pause);
      inputs.embeddingTokenizer =
        table === null ? before!.inputs.embeddingTokenizer! : table.tokenizer.sha256;
    }
    return await runStage(
      {
        run,
        stage: 'partition',
        reads: partitionReads(recipe),
        inputs,
        command: `moe-disco partition ${run.root}`,
        execution: { device, threads: torch.getNumThreads() },
        versions: { torch: torch.version() },
        seeds: { partition: recipe.seed },
        say: (text) => reporter.say(text),
      },
      async (stage) => {
        const store = TokenStore.open(corpusFolder.path('train'), { vocabularySize: vocabularyOf(corpus) });
        try {
          requireDocuments(store, submodelCount(recipe));
          const tokenizer = await TextTokenizer.load(corpusFolder.path('tokenizer.json'), endTokenOf(corpus));
          const opened = table === null ? null : { table, sha256: inputs.embedding! };
          return await makePartition({ context, stage, store, tokenizer, folder: opened, pause });
        } finally {
          store.close();
        }
      },
    );
  } finally {
    table?.close();
  }
}

/** Where the table of token vectors lies; null where it is made. */
function embeddingFolder(recipe: Recipe): string | null {
  const { source, folder } = recipe.partition.embedding;
  if (source === 'model' && recipe.init.from !== 'scratch') return recipe.init.folder;
  if (source !== 'folder') return null;
  if (folder !== null) return folder;
  throw new RequestError('The recipe names no folder with an embedding table.', {
    key: 'partition.embedding.folder',
  });
}

/** The folder's table; null where it was moved away after the partition was finished, which then stands. */
async function openFolder(folder: string, before: Done | null): Promise<FolderTable | null> {
  const known = before?.inputs.embedding !== undefined;
  return known && !existsSync(folder) ? null : FolderTable.open(folder);
}

/**
 * The recipe values that a partition depends on; where an embedding folder lies is none of them. Keys that came later
 * are left out where they change nothing, so that partitions from before them stay valid.
 */
function partitionReads(recipe: Recipe): unknown {
  const { method, center, normalize, restarts, maxIterations } = recipe.partition;
  const { sample, algorithm, batchSize, balanced, tolerance } = recipe.partition;
  return {
    method,
    center,
    normalize,
    restarts,
    maxIterations,
    ...(sample !== null && { sample }),
    ...(algorithm === 'miniBatch' && { algorithm, batchSize }),
    ...(balanced !== 'none' && { balanced, tolerance }),
    embedding: embeddingReads(recipe),
    seed: recipe.seed,
    experts: submodelCount(recipe),
    batch: recipe.corpus.batch,
    ...(recipe.corpus.batch === 'padded' && { sequenceLength: recipe.corpus.sequenceLength }),
  };
}

function embeddingReads({ partition, init, model }: Recipe): unknown {
  const { source, window, maxTokens, stopWords } = partition.embedding;
  const dimension = tableDimension(partition.embedding);
  if (source === 'corpus') return { source, dimension, window, maxTokens };
  if (source === 'tfidf') return { source, dimension, maxTokens, stopWords };
  if (source === 'folder' || init.from !== 'scratch') return { source };
  const { vocab_size, hidden_size, initializer_range } = model.config;
  return { source, vocab_size, hidden_size, initializer_range };
}

function requireDocuments(store: TokenStore, experts: number): void {
  if (store.documents >= experts) return;
  throw new DataError('There are fewer training documents than experts.', {
    file: store.file,
    expected: `at least ${experts}`,
    found: String(store.documents),
    hint: 'use more text, fewer experts, or unit: row, which takes every line as a document',
  });
}

/**
 * The partition stage: a cluster for every training document. Writes assignment.bin, centroids.safetensors,
 * clusters.json and clusters.md; the text itself is not rewritten.
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
  const { source, folder } = recipe.partition.embedding;
  const before = readDone(run.stageFolder('partition'));
  const table = source === 'folder' ? await openFolder(folder, before) : null;
  try {
    const inputs: Record<string, string> = {
      corpus: corpus.hashes.train!,
      tokenizer: corpus.hashes.tokenizer!,
    };
    if (source === 'folder') {
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
          return await makePartition({ context, stage, store, tokenizer, table, inputs, pause });
        } finally {
          store.close();
        }
      },
    );
  } finally {
    table?.close();
  }
}

/** The folder's table; null where it was moved away after the partition was finished, which then stands. */
async function openFolder(folder: string | null, before: Done | null): Promise<FolderTable | null> {
  if (folder === null) {
    throw new RequestError('The recipe names no folder with an embedding table.', {
      key: 'partition.embedding.folder',
    });
  }
  const known = before?.inputs.embedding !== undefined;
  return known && !existsSync(folder) ? null : FolderTable.open(folder);
}

/** The recipe values that a partition depends on; where an embedding folder lies is none of them. */
function partitionReads(recipe: Recipe): unknown {
  const { embedding, ...settings } = recipe.partition;
  const { source, dimension, window, maxTokens } = embedding;
  return {
    ...settings,
    embedding: source === 'corpus' ? { source, dimension, window, maxTokens } : { source },
    seed: recipe.seed,
    experts: submodelCount(recipe),
    batch: recipe.corpus.batch,
    ...(recipe.corpus.batch === 'padded' && { sequenceLength: recipe.corpus.sequenceLength }),
  };
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

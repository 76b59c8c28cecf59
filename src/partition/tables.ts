/** The table of token vectors of eq. (1), wherever the recipe takes it from. */
import type { TextTokenizer } from '../corpus/tokenizer.js';
import type { TokenStore } from '../formats/token-store.js';
import { initialTensor } from '../model/initial-weights.js';
import { parameterLayout } from '../model/parameters.js';
import type { Recipe } from '../recipe/schema.js';
import type { StageRun } from '../run/context.js';
import { modelConfigOf } from '../split/stage.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { retokenization } from './assign.js';
import { makeCorpusTable } from './corpus-table.js';
import type { DocumentIds } from './document-vectors.js';
import type { FolderTable } from './folder-table.js';
import type { PartitionModel } from './model-file.js';
import type { Pause } from './pause.js';
import { makeTfidfTable, termsOf } from './tfidf-table.js';

/** Dimensions that are kept where the recipe names none. */
const DIMENSIONS = { corpus: 32, tfidf: 100 } as const;

/** A table that is loaded and how documents are looked up in it. */
export interface LoadedTable {
  /** float32 [V, d] on the device that computes. The caller disposes it. */
  weight: Tensor;
  retokenize: DocumentIds['retokenize'];
  /** What a saved model keeps of it. */
  saved: () => PartitionModel['embedding'];
  /** In words. */
  description: string;
}

export interface TableRequest {
  context: StageRun;
  store: TokenStore;
  /** The corpus's. */
  tokenizer: TextTokenizer;
  /** The table of a folder where it comes from one, and its hash. */
  folder: { table: FolderTable; sha256: string } | null;
  /** Tokens of a document that are trained on. */
  limit: number;
  pause: Pause;
}

/** Dimensions of a table that is made from the corpus. */
export function tableDimension({ source, dimension }: Recipe['partition']['embedding']): number {
  return dimension ?? (source === 'tfidf' ? DIMENSIONS.tfidf : DIMENSIONS.corpus);
}

/** Reads or makes the table. */
export async function loadTable(request: TableRequest): Promise<LoadedTable> {
  const { context, folder, tokenizer, pause } = request;
  if (folder !== null) {
    const { table, sha256 } = folder;
    return {
      weight: await table.read(context.device, pause),
      retokenize: retokenization(tokenizer, table.tokenizer),
      saved: () => ({ folder: table.folder, sha256 }),
      description: `${table.tensor} of ${table.folder}`,
    };
  }
  const { weight, description } = await makers[context.recipe.partition.embedding.source](request);
  return { weight, retokenize: null, saved: () => ({ table: savedMatrix(weight) }), description };
}

type Made = Promise<{ weight: Tensor; description: string }>;

const makers: Record<Recipe['partition']['embedding']['source'], (request: TableRequest) => Made> = {
  corpus: fromCorpus,
  tfidf: fromTermFrequencies,
  model: fromUntrainedModel,
  folder: () => Promise.reject(new Error('a table of a folder is opened by the stage')),
};

async function fromCorpus({ context, store, tokenizer, limit, pause }: TableRequest): Made {
  const { recipe, device } = context;
  const { embedding } = recipe.partition;
  const { window, maxTokens } = embedding;
  const made = await makeCorpusTable(store, {
    vocabularySize: tokenizer.largestId + 1,
    dimension: tableDimension(embedding),
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
    description:
      `positive mutual information of ${made.distinct} tokens within ${window} places${contexts}, counted over ` +
      `${made.counted} tokens, truncated SVD, smooth inverse frequency`,
  };
}

async function fromTermFrequencies({ context, store, tokenizer, limit, pause }: TableRequest): Made {
  const { recipe, device } = context;
  const { embedding } = recipe.partition;
  const { stopWords, maxTokens } = embedding;
  const made = await makeTfidfTable(store, {
    terms: await termsOf(tokenizer, { stopWords, pause }),
    dimension: tableDimension(embedding),
    maxTokens,
    limit,
    seed: recipe.seed,
    device,
    pause,
  });
  const left = stopWords === 'english' ? ' without English stop words' : '';
  return {
    weight: made.weight,
    description: `tf-idf of ${made.terms} terms${left}, counted over ${made.counted} tokens, truncated SVD`,
  };
}

/** Of a model that starts from scratch; one that starts from a folder has the folder's table. */
async function fromUntrainedModel({ context }: TableRequest): Made {
  const { recipe, run, reporter, device } = context;
  const config = modelConfigOf(recipe, run);
  const table = parameterLayout(config)[0]!.parameters[0]!;
  reporter.say(
    'Warning: partition.embedding.source is model, and the model starts from scratch. Its table is random: clusters ' +
      'will follow how many tokens documents share and nothing else. corpus and tfidf need no model.',
  );
  const made = initialTensor(table, config, { seed: recipe.seed, dtype: 'float32' });
  const weight = made.to({ device });
  if (weight !== made) made.dispose();
  return { weight, description: `${table.name} as it is drawn from seed ${recipe.seed}, untrained` };
}

function savedMatrix(weight: Tensor): { rows: number; columns: number; values: Float32Array } {
  const [rows, columns] = weight.shape as [number, number];
  return torch.scope(() => ({ rows, columns, values: weight.toArray() as Float32Array }));
}

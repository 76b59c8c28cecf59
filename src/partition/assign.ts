/** New documents by a saved partition: the cluster whose centroid is nearest. */
import type { TextTokenizer } from '../corpus/tokenizer.js';
import { DataError, RequestError } from '../errors.js';
import type { TokenStore } from '../formats/token-store.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { type DocumentIds, documentVectors, prepareVectors } from './document-vectors.js';
import { FolderTable } from './folder-table.js';
import { type Matrix, type PartitionModel, readPartitionModel } from './model-file.js';
import { assignNearest } from './nearest.js';
import type { Pause } from './pause.js';

/**
 * Assigns the documents of a store to the clusters of a finished partition.
 *
 * @param folder the partition's folder
 * @param tokenizer the one that made the store
 * @returns cluster of each document: int32 [n]
 * @throws RequestError for a random partition, which has no rule for new documents; DataError where the table that
 * the partition was made with is gone or has changed.
 */
export async function assignDocuments(
  folder: string,
  store: TokenStore,
  tokenizer: TextTokenizer,
  options: { device?: string; pause?: Pause } = {},
): Promise<Int32Array> {
  const { device = 'cpu', pause = async () => {} } = options;
  const model = readPartitionModel(folder);
  if (model.method === 'random') {
    throw new RequestError('A random partition has no rule by which new documents could be assigned.', {
      file: folder,
      key: 'partition.method',
      expected: 'kmeans',
      found: 'random',
    });
  }
  const { table, retokenize } = await openTable(model, tokenizer, device, pause);
  const { rows, columns, values } = model.centroids;
  const points = torch.tensor(values, [rows, columns], { device });
  try {
    const vectors = await documentVectors({ store, limit: model.limit, retokenize }, table, pause);
    try {
      prepareVectors(vectors, model);
      const labels = new Int32Array(store.documents);
      await assignNearest(vectors, points, labels, pause);
      return labels;
    } finally {
      vectors.dispose();
    }
  } finally {
    points.dispose();
    table.dispose();
  }
}

async function openTable(
  { embedding, centroids }: PartitionModel,
  tokenizer: TextTokenizer,
  device: string,
  pause: Pause,
): Promise<{ table: Tensor; retokenize: DocumentIds['retokenize'] }> {
  if ('table' in embedding) return { table: upload(embedding.table, device), retokenize: null };
  const folder = await FolderTable.open(embedding.folder);
  try {
    if (folder.dimension !== centroids.columns || (await folder.hash(pause)) !== embedding.sha256) {
      throw new DataError('The embedding table is not the one that the partition was made with.', {
        file: embedding.folder,
        key: folder.tensor,
      });
    }
    const table = await folder.read(device, pause);
    return { table, retokenize: retokenization(tokenizer, folder.tokenizer) };
  } finally {
    folder.close();
  }
}

/** How ids of `from` become ids of `to`: not at all where both are the same file. */
export function retokenization(from: TextTokenizer, to: TextTokenizer): DocumentIds['retokenize'] {
  return from.sha256 === to.sha256 ? null : { from, to };
}

function upload({ rows, columns, values }: Matrix, device: string): Tensor {
  return torch.tensor(values, [rows, columns], { device });
}

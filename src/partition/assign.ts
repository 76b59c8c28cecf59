/** New documents by a saved partition: the cluster whose centroid is nearest. */
import type { TextTokenizer } from '../corpus/tokenizer.js';
import { DataError, RequestError } from '../errors.js';
import type { TokenStore } from '../formats/token-store.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { type DocumentIds, prepareVectors, vectorPieces } from './document-vectors.js';
import { FolderTable } from './folder-table.js';
import { type Matrix, type PartitionModel, readPartitionModel } from './model-file.js';
import { assignNearest, ownDistances, squaredDistances } from './nearest.js';
import type { Pause } from './pause.js';

/** Where documents belong. */
export interface Assigned {
  /** Cluster of each document: int32 [n]. */
  labels: Int32Array;
  /** Distance of each to the centroid of its cluster: [n]. */
  distances: Float32Array;
}

/** A finished partition, ready to take documents. Dispose it when done. */
export class Assigner {
  private constructor(
    readonly model: PartitionModel,
    readonly tokenizer: TextTokenizer,
    private readonly table: Tensor,
    private readonly retokenize: DocumentIds['retokenize'],
    private readonly centroids: Tensor,
    private readonly pause: Pause,
  ) {}

  /**
   * Opens the partition in `folder`.
   *
   * @param tokenizer that of the corpus
   * @throws RequestError for a random partition, which has no rule for new documents; DataError where the table that
   * the partition was made with is gone or has changed.
   */
  static async open(
    folder: string,
    tokenizer: TextTokenizer,
    options: { device?: string; pause?: Pause } = {},
  ): Promise<Assigner> {
    const { device = 'cpu', pause = async () => {} } = options;
    const model = readPartitionModel(folder);
    if (model.method === 'random') {
      throw new RequestError('A random partition has no rule by which new documents could be assigned.', {
        file: folder,
        key: 'partition.method',
        expected: 'kmeans or field',
        found: 'random',
      });
    }
    const { table, retokenize } = await openTable(model, tokenizer, device, pause);
    const { rows, columns, values } = model.centroids;
    const centroids = torch.tensor(values, [rows, columns], { device });
    return new Assigner(model, tokenizer, table, retokenize, centroids, pause);
  }

  /** Assigns documents of token ids. */
  async assign(store: Pick<TokenStore, 'documents' | 'document'>): Promise<Assigned> {
    const { model, retokenize, pause } = this;
    const labels = new Int32Array(store.documents);
    const distances = new Float32Array(store.documents);
    const source: DocumentIds = { store, limit: model.limit, retokenize, sample: null };
    for await (const { first, vectors } of vectorPieces(source, this.table, pause)) {
      await prepareVectors(vectors, model, pause);
      const here = labels.subarray(first, first + vectors.shape[0]!);
      await assignNearest(vectors, this.centroids, here, pause);
      const squares = await ownDistances(vectors, this.centroids, here, pause);
      distances.set(squares.map(Math.sqrt), first);
    }
    return { labels, distances };
  }

  /** Squared distances of documents of token ids to all centroids: row-major [n, E]. */
  async squaredDistances(store: Pick<TokenStore, 'documents' | 'document'>): Promise<Float32Array> {
    const { model, retokenize, pause } = this;
    const clusters = model.centroids.rows;
    const all = new Float32Array(store.documents * clusters);
    const source: DocumentIds = { store, limit: model.limit, retokenize, sample: null };
    for await (const { first, vectors } of vectorPieces(source, this.table, pause)) {
      await prepareVectors(vectors, model, pause);
      all.set(await squaredDistances(vectors, this.centroids, pause), first * clusters);
    }
    return all;
  }

  /** Assigns texts. */
  async assignTexts(texts: readonly string[]): Promise<Assigned> {
    const ids = await this.tokenizer.encode(texts);
    return this.assign({
      documents: ids.length,
      document: (document, limit) => ids[document]!.subarray(0, limit),
    });
  }

  dispose(): void {
    this.table.dispose();
    this.centroids.dispose();
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

/** Vectors of documents: h_x = MeanPool(Embed(x)), eq. (1), streamed over the token store. */
import type { TextTokenizer } from '../corpus/tokenizer.js';
import type { Ids, TokenStore } from '../formats/token-store.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { eachPiece } from './nearest.js';
import type { Pause } from './pause.js';

/** Tokens looked up at once. */
const PIECE_TOKENS = 1 << 18;
const MEAN = 1;

/** Where the ids of the documents come from. */
export interface DocumentIds {
  store: Pick<TokenStore, 'documents' | 'document'>;
  /** Tokens of a document that are trained on, and so embedded: the sequence length where rows are cut to it. */
  limit: number;
  /**
   * Where the table has another tokenizer than the store: the texts are restored from the store's ids, of which
   * they are a lossless form for byte-level tokenizers, and encoded anew.
   */
  retokenize: { from: TextTokenizer; to: TextTokenizer } | null;
  /** Which documents, rising; null: all. */
  sample: Int32Array | null;
}

/** How many documents a source has. */
export function documentCount({ store, sample }: Pick<DocumentIds, 'store' | 'sample'>): number {
  return sample?.length ?? store.documents;
}

/** Documents first, first + 1, ... of the source, their ids one after the other. */
interface Piece {
  first: number;
  documents: (Ids | Int32Array)[];
}

/**
 * Mean of the token vectors of every document, a piece of the corpus at a time.
 *
 * @param table float32 [V, d]; every id is below V
 * @returns the vectors of documents first, first + 1, ... of the source: float32 [count, d] on the table's device, zero
 * for a document without tokens; freed when the next ones are asked for
 */
export async function* vectorPieces(
  source: DocumentIds,
  table: Tensor,
  pause: Pause,
): AsyncGenerator<{ first: number; vectors: Tensor }> {
  const { device } = table;
  for await (const { first, documents } of pieces(source)) {
    const offsets = new Int32Array(documents.length);
    let length = 0;
    for (const [i, ids] of documents.entries()) {
      offsets[i] = length;
      length += ids.length;
    }
    const ids = new Int32Array(length);
    for (const [i, document] of documents.entries()) ids.set(document, offsets[i]!);
    const upload = (numbers: Int32Array): Tensor => torch.tensor(numbers, [numbers.length], { device });
    const vectors = torch.scope(() =>
      length === 0
        ? torch.zeros([documents.length, table.shape[1]!], { dtype: 'float32', device })
        : torch.embeddingBag(table, upload(ids), upload(offsets), { mode: MEAN })[0],
    );
    try {
      yield { first, vectors };
    } finally {
      vectors.dispose();
    }
    await pause();
  }
}

async function* pieces({ store, limit, retokenize, sample }: DocumentIds): AsyncGenerator<Piece> {
  let piece: Piece = { first: 0, documents: [] };
  let size = 0;
  const finish = async (): Promise<Piece> => {
    if (retokenize === null) return piece;
    const { from, to } = retokenize;
    const texts: string[] = [];
    for (const ids of piece.documents) texts.push(await from.decode(ids));
    return { first: piece.first, documents: await to.encode(texts) };
  };
  const count = sample?.length ?? store.documents;
  for (let i = 0; i < count; i++) {
    const ids = store.document(sample?.[i] ?? i, limit);
    if (size > 0 && size + ids.length > PIECE_TOKENS) {
      yield await finish();
      piece = { first: i, documents: [] };
      size = 0;
    }
    piece.documents.push(ids);
    size += ids.length;
  }
  if (piece.documents.length > 0) yield await finish();
}

/** What is done to vectors before they are compared. */
export interface Preparation {
  /** Subtracted: float32 [d]; null where vectors are not centred. */
  mean: Float32Array | null;
  /** Whether they are then scaled to unit length; the zero vector stays. */
  normalize: boolean;
}

/** The mean of vectors [n, d], summed in float64: float32 [d]. */
export async function meanVector(vectors: Tensor, device: string, pause: Pause): Promise<Float32Array> {
  const [n, d] = vectors.shape as [number, number];
  const sum = torch.zeros([d], { dtype: 'float64', device });
  try {
    await eachPiece(vectors, device, pause, (rows) => {
      sum.add_(rows.sum(0, { dtype: 'float64' }));
    });
    return Float32Array.from(sum.toArray() as Float64Array, (value) => value / n);
  } finally {
    sum.dispose();
  }
}

/** Centres and scales vectors [n, d] in place. */
export async function prepareVectors(
  vectors: Tensor,
  { mean, normalize }: Preparation,
  pause: Pause,
): Promise<void> {
  await eachPiece(vectors, vectors.device, pause, (rows) => {
    if (mean !== null) rows.sub_(torch.tensor(mean, [1, mean.length], { device: rows.device }));
    if (normalize) rows.div_(rows.square().sum(1, { keepdim: true }).sqrt_().clampMin_(1e-12));
  });
}

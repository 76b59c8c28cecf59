/** Vectors of documents: h_x = MeanPool(Embed(x)), eq. (1), streamed over the token store. */
import type { TextTokenizer } from '../corpus/tokenizer.js';
import type { Ids, TokenStore } from '../formats/token-store.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { Pause } from './pause.js';

/** Tokens looked up at once. */
const PIECE_TOKENS = 1 << 18;
const MEAN = 1;

/** Where the ids of the documents come from. */
export interface DocumentIds {
  store: TokenStore;
  /** Tokens of a document that are trained on, and so embedded: the sequence length where rows are cut to it. */
  limit: number;
  /**
   * Where the table has another tokenizer than the store: the texts are restored from the store's ids, of which
   * they are a lossless form for byte-level tokenizers, and encoded anew.
   */
  retokenize: { from: TextTokenizer; to: TextTokenizer } | null;
}

/** Documents first, first + 1, ..., their ids one after the other. */
interface Piece {
  first: number;
  documents: (Ids | Int32Array)[];
}

/**
 * Mean of the token vectors of every document.
 *
 * @param table float32 [V, d]; every id is below V
 * @param progress told how many documents are done
 * @returns float32 [documents, d] on the table's device; zero for a document without tokens
 */
export async function documentVectors(
  source: DocumentIds,
  table: Tensor,
  pause: Pause,
  progress: (documents: number) => void = () => {},
): Promise<Tensor> {
  const { device } = table;
  const vectors = torch.zeros([source.store.documents, table.shape[1]!], { dtype: 'float32', device });
  try {
    for await (const { first, documents } of pieces(source)) {
      torch.scope(() => {
        const offsets = new Int32Array(documents.length);
        let length = 0;
        documents.forEach((ids, i) => {
          offsets[i] = length;
          length += ids.length;
        });
        if (length === 0) return;
        const ids = new Int32Array(length);
        documents.forEach((document, i) => {
          ids.set(document, offsets[i]!);
        });
        const upload = (numbers: Int32Array): Tensor => torch.tensor(numbers, [numbers.length], { device });
        const [means] = torch.embeddingBag(table, upload(ids), upload(offsets), { mode: MEAN });
        vectors.narrow(0, first, documents.length).copy_(means!);
      });
      progress(first + documents.length);
      await pause();
    }
    return vectors;
  } catch (error) {
    vectors.dispose();
    throw error;
  }
}

async function* pieces({ store, limit, retokenize }: DocumentIds): AsyncGenerator<Piece> {
  let piece: Piece = { first: 0, documents: [] };
  let size = 0;
  const finish = async (): Promise<Piece> => {
    if (retokenize === null) return piece;
    const { from, to } = retokenize;
    const texts: string[] = [];
    for (const ids of piece.documents) texts.push(await from.decode(ids));
    return { first: piece.first, documents: await to.encode(texts) };
  };
  for (let document = 0; document < store.documents; document++) {
    const ids = store.document(document, limit);
    if (size > 0 && size + ids.length > PIECE_TOKENS) {
      yield await finish();
      piece = { first: document, documents: [] };
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
export function meanVector(vectors: Tensor): Float32Array {
  return torch.scope(
    () => vectors.mean(0, { dtype: 'float64' }).to({ dtype: 'float32' }).toArray() as Float32Array,
  );
}

/** Centres and scales vectors [n, d] in place. */
export function prepareVectors(vectors: Tensor, { mean, normalize }: Preparation): void {
  torch.scope(() => {
    if (mean !== null) vectors.sub_(torch.tensor(mean, [1, mean.length], { device: vectors.device }));
    if (normalize) vectors.div_(vectors.square().sum(1, { keepdim: true }).sqrt_().clampMin_(1e-12));
  });
}

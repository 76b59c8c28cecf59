/** The token-embedding table of a Hugging Face folder, with the tokenizer that it belongs to. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { TextTokenizer } from '../corpus/tokenizer.js';
import { DataError } from '../errors.js';
import { openWeights, tokenizerPath, type Weights } from '../formats/hf-folder.js';
import { DTYPE_BYTES } from '../formats/safetensors.js';
import type { DType, Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { Pause } from './pause.js';

/** What families call their table of input embeddings. */
const NAMES = [
  'model.embed_tokens.weight',
  'embed_tokens.weight',
  'model.language_model.embed_tokens.weight',
  'language_model.model.embed_tokens.weight',
  'model.decoder.embed_tokens.weight',
  'transformer.wte.weight',
  'wte.weight',
  'gpt_neox.embed_in.weight',
  'transformer.word_embeddings.weight',
  'word_embeddings.weight',
  'backbone.embeddings.weight',
  'embeddings.word_embeddings.weight',
  'bert.embeddings.word_embeddings.weight',
  'roberta.embeddings.word_embeddings.weight',
];
const DTYPES: Partial<Record<string, DType>> = {
  F64: 'float64',
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
};
/** Bytes read at once. */
const PIECE_BYTES = 1 << 26;

/** A table on disk, checked but not yet read. */
export class FolderTable {
  readonly folder: string;
  readonly tokenizer: TextTokenizer;
  /** Name of the tensor. */
  readonly tensor: string;
  /** V and d. */
  readonly rows: number;
  readonly dimension: number;
  readonly #weights: Weights;
  readonly #dtype: DType;
  readonly #rowBytes: number;

  private constructor(folder: string, tokenizer: TextTokenizer, weights: Weights) {
    const tensor = NAMES.find((name) => weights.has(name));
    if (tensor === undefined) {
      throw new DataError('The folder has no table of token embeddings under a known name.', {
        file: folder,
        expected: NAMES.slice(0, 3).join(', '),
        found: weights.names.slice(0, 5).join(', '),
      });
    }
    const { dtype, shape } = weights.info(tensor);
    const known = DTYPES[dtype];
    const [rows, dimension] = shape;
    const file = weights.file(tensor);
    if (known === undefined || shape.length !== 2 || !rows || !dimension) {
      throw new DataError('The table of token embeddings has another form.', {
        file,
        key: tensor,
        expected: `two dimensions of ${Object.keys(DTYPES).join(', ')}`,
        found: `${dtype} [${shape.join(', ')}]`,
      });
    }
    if (tokenizer.largestId >= rows) {
      throw new DataError('The tokenizer has more ids than the table has rows.', {
        file,
        key: tensor,
        expected: `more than ${tokenizer.largestId} rows, for ${tokenizer.file}`,
        found: String(rows),
        hint: 'the table and its tokenizer.json must come from the same model',
      });
    }
    this.folder = folder;
    this.tokenizer = tokenizer;
    this.tensor = tensor;
    this.rows = rows;
    this.dimension = dimension;
    this.#weights = weights;
    this.#dtype = known;
    this.#rowBytes = dimension * DTYPE_BYTES[dtype];
  }

  /**
   * Opens a folder. Only headers are read. Close it when done.
   * @throws DataError where weights, table or tokenizer.json are missing or do not fit together.
   */
  static async open(folder: string): Promise<FolderTable> {
    const file = tokenizerPath(folder);
    if (file === null) {
      throw new DataError('A table of token embeddings is of no use without its tokenizer.', {
        file: join(folder, 'tokenizer.json'),
        key: 'partition.embedding.folder',
        expected: 'the tokenizer.json of the same model',
        found: 'no such file',
      });
    }
    // Encoding knows no end token; any id will do for it.
    const tokenizer = await TextTokenizer.load(file, 0);
    const weights = openWeights(folder);
    try {
      return new FolderTable(folder, tokenizer, weights);
    } catch (error) {
      weights.close();
      throw error;
    }
  }

  /** SHA-256 of the tensor's bytes, its type and shape. */
  async hash(pause: Pause): Promise<string> {
    const hash = createHash('sha256').update(`${this.#dtype} ${this.rows} ${this.dimension}\0`);
    for (const { bytes } of this.#pieces()) {
      hash.update(bytes);
      await pause();
    }
    return hash.digest('hex');
  }

  /**
   * The table as float32 [V, d] on `device`.
   * @throws DataError where it holds a value that is not finite.
   */
  async read(device: string, pause: Pause): Promise<Tensor> {
    const weight = torch.empty([this.rows, this.dimension], { dtype: 'float32', device });
    try {
      for (const { first, count, bytes } of this.#pieces()) {
        const finite = torch.scope(() => {
          const values = torch
            .fromBytes(bytes, [count, this.dimension], this.#dtype)
            .to({ dtype: 'float32' });
          weight.narrow(0, first, count).copy_(values);
          return Number.isFinite(values.sum(null, { dtype: 'float64' }).item());
        });
        if (!finite) {
          throw new DataError('The table of token embeddings holds values that are not finite.', {
            file: this.#weights.file(this.tensor),
            key: this.tensor,
          });
        }
        await pause();
      }
      return weight;
    } catch (error) {
      weight.dispose();
      throw error;
    }
  }

  close(): void {
    this.#weights.close();
  }

  *#pieces(): Generator<{ first: number; count: number; bytes: Uint8Array }> {
    const size = Math.max(1, Math.floor(PIECE_BYTES / this.#rowBytes));
    for (let first = 0; first < this.rows; first += size) {
      const count = Math.min(size, this.rows - first);
      const bytes = this.#weights.read(
        this.tensor,
        undefined,
        first * this.#rowBytes,
        count * this.#rowBytes,
      );
      yield { first, count, bytes };
    }
  }
}

/**
 * The tensors of a model folder by name, whichever shard they lie in, and whichever of the two layouts of experts the
 * folder has: a fused tensor can be seen as the parts that it is made of, each read by its own range of bytes.
 */
import { setImmediate } from 'node:timers/promises';
import { DataError } from '../errors.js';
import { DTYPE_BYTES, type SafetensorsReader, type TensorInfo } from './safetensors.js';

/** A stored tensor that holds several under one name, and where each lies in it: elements from `offset` on. */
export interface FusedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** In the order of their offsets; they cover the tensor. */
  readonly parts: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly offset: number;
  }[];
}

/** Where a tensor lies: bytes from `start` on of a stored tensor. */
interface Place {
  shard: SafetensorsReader;
  stored: string;
  start: number;
  info: TensorInfo;
}

/** Bytes that are read at once when a tensor is streamed: a multiple of every element's size. */
const PIECE_BYTES = 1 << 23;

/** All tensors of a folder. Close it when done. */
export class Weights {
  readonly folder: string;
  /** The files, in the order of the index. */
  readonly files: readonly string[];
  /** Names of the fused tensors that are seen as their parts. */
  readonly fused: readonly string[];
  readonly #shards: readonly SafetensorsReader[];
  readonly #places = new Map<string, Place>();

  /**
   * Use openWeights.
   * @throws DataError where a fused tensor has another shape or one of its parts stands there a second time
   */
  constructor(folder: string, shards: readonly SafetensorsReader[], fused: readonly FusedTensor[]) {
    this.folder = folder;
    this.files = shards.map(({ path }) => path);
    this.#shards = shards;
    for (const shard of shards) {
      for (const name of shard.names) {
        this.#places.set(name, { shard, stored: name, start: 0, info: shard.info(name) });
      }
    }
    const present = fused.filter(({ name }) => this.#places.has(name));
    this.fused = present.map(({ name }) => name);
    for (const tensor of present) this.#takeApart(tensor);
  }

  /** Names shard by shard, each in the order of its file, the parts of fused tensors last. */
  get names(): string[] {
    return [...this.#places.keys()];
  }

  has(name: string): boolean {
    return this.#places.has(name);
  }

  /** Type and size of a tensor. Throws DataError when there is none of this name. */
  info(name: string): TensorInfo {
    return this.#place(name).info;
  }

  /** Path of the file that holds a tensor, for messages. */
  file(name: string): string {
    return this.#place(name).shard.path;
  }

  /** As {@link SafetensorsReader.read}. */
  read(name: string, into?: Uint8Array, offset = 0, length = this.info(name).bytes - offset): Uint8Array {
    const { shard, stored, start, info } = this.#place(name);
    if (offset < 0 || length < 0 || offset + length > info.bytes) {
      throw new RangeError(`bytes ${offset} to ${offset + length} of ${name}, which has ${info.bytes}`);
    }
    return shard.read(stored, into, start + offset, length);
  }

  /**
   * Hands out a tensor's bytes in order, in pieces of whole elements that must be used at once; the event loop turns
   * between them, so that the memory needed is that of one piece.
   */
  async stream(name: string, sink: (piece: Uint8Array) => void): Promise<void> {
    const { bytes } = this.info(name);
    for (let offset = 0; offset < bytes; offset += PIECE_BYTES) {
      sink(this.read(name, piece(), offset, Math.min(PIECE_BYTES, bytes - offset)));
      await setImmediate();
    }
  }

  close(): void {
    for (const shard of this.#shards) shard.close();
  }

  #place(name: string): Place {
    const place = this.#places.get(name);
    if (place === undefined) {
      throw new DataError(`${this.folder} has no tensor ${name}.`, { file: this.folder, key: name });
    }
    return place;
  }

  #takeApart({ name, shape, parts }: FusedTensor): void {
    const { shard, stored, start, info } = this.#place(name);
    if (info.shape.join() !== shape.join()) {
      const [expected, found] = [`[${shape}]`, `[${info.shape}]`];
      throw new DataError('A tensor has another shape.', { file: shard.path, key: name, expected, found });
    }
    this.#places.delete(name);
    const width = DTYPE_BYTES[info.dtype];
    for (const part of parts) {
      if (this.#places.has(part.name)) {
        throw new DataError(`Tensor ${part.name} stands there twice: by itself, and within ${name}.`, {
          file: shard.path,
          key: name,
        });
      }
      const bytes = width * part.shape.reduce((product, length) => product * length, 1);
      const within = start + width * part.offset;
      this.#places.set(part.name, {
        shard,
        stored,
        start: within,
        info: { dtype: info.dtype, shape: [...part.shape], offset: info.offset + width * part.offset, bytes },
      });
    }
  }
}

let buffer: Uint8Array | null = null;

/** The one buffer that all streams share: what is read into it is used before anything else is. */
function piece(): Uint8Array {
  buffer ??= new Uint8Array(PIECE_BYTES);
  return buffer;
}

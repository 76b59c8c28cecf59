/** Writes a token store (see token-store.ts) document by document, in memory that grows with nothing. */
import { closeSync, existsSync, openSync, renameSync } from 'node:fs';
import { AtomicFile, type SavedBeginning } from './atomic.js';
import type { FileRecord } from './hash.js';
import { piecesOf } from './pieces.js';
import { systemFailure } from './system-failure.js';
import { type Ids, indexHeader, typeCode } from './token-store.js';

/** Bytes gathered before they go to a file, and read at once. */
const CHUNK_BYTES = 1 << 20;

/** What was written: sizes and hashes of both files and what they hold. */
export interface WrittenStore {
  files: [bin: FileRecord, idx: FileRecord];
  documents: number;
  tokens: number;
}

/** How far a store in the making is durable. */
export interface SavedStore {
  bin: SavedBeginning;
  /** int32 tokens of each document. */
  lengths: SavedBeginning;
}

/** A token store in the making; neither file is seen before {@link TokenWriter.finish}. */
export class TokenWriter {
  readonly #prefix: string;
  readonly #bin: AtomicFile;
  readonly #lengths: AtomicFile;
  readonly #kept: boolean;
  readonly #code: 4 | 8;
  readonly #ids: Ids;
  readonly #documentLengths: Int32Array;
  #usedIds = 0;
  #usedLengths = 0;

  /**
   * Begins `prefix`.bin and `prefix`.idx.
   *
   * @param vocabularySize ids are 0 .. vocabularySize - 1; decides how wide they are stored
   * @param options `parts`: prefix of files that outlive this process, so that another can go on
   * @throws EnvironmentError, RequestError as {@link AtomicFile} does.
   */
  constructor(
    prefix: string,
    vocabularySize: number,
    options: { parts?: string; chunkBytes?: number } = {},
    resumed?: { bin: AtomicFile; lengths: AtomicFile },
  ) {
    const { parts, chunkBytes = CHUNK_BYTES } = options;
    this.#prefix = prefix;
    this.#kept = parts !== undefined;
    this.#code = typeCode(vocabularySize);
    this.#ids = this.#code === 8 ? new Uint16Array(chunkBytes / 2) : new Int32Array(chunkBytes / 4);
    this.#documentLengths = new Int32Array(chunkBytes / 4);
    const begin = (name: string) => new AtomicFile(`${prefix}.${name}`, parts && `${parts}.${name}`);
    this.#bin = resumed?.bin ?? begin('bin');
    try {
      this.#lengths = resumed?.lengths ?? begin('lengths');
    } catch (error) {
      this.#bin.abort();
      throw error;
    }
  }

  /**
   * Goes on behind what was saved; a store that was published meanwhile is taken back.
   * @returns null where the parts do not begin as they were saved
   */
  static async resume(
    prefix: string,
    vocabularySize: number,
    parts: string,
    saved: SavedStore,
  ): Promise<TokenWriter | null> {
    const part = (name: string) => `${parts}.${name}`;
    if (!existsSync(part('bin')) && existsSync(`${prefix}.bin`)) renameSync(`${prefix}.bin`, part('bin'));
    const bin = await AtomicFile.resume(`${prefix}.bin`, part('bin'), saved.bin);
    if (bin === null) return null;
    const lengths = await AtomicFile.resume(`${prefix}.lengths`, part('lengths'), saved.lengths);
    if (lengths !== null) return new TokenWriter(prefix, vocabularySize, { parts }, { bin, lengths });
    bin.leave();
    return null;
  }

  get documents(): number {
    return this.#lengths.size / 4 + this.#usedLengths;
  }

  get tokens(): number {
    return this.#bin.size / this.#ids.BYTES_PER_ELEMENT + this.#usedIds;
  }

  /** Appends one document. @throws RangeError for an id that does not fit the type. */
  add(ids: ArrayLike<number>): void {
    const largest = this.#code === 8 ? 2 ** 16 - 1 : 2 ** 31 - 1;
    const buffer = this.#ids;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]!;
      if (!(id >= 0 && id <= largest)) throw new RangeError(`the id ${id} is none of 0 to ${largest}`);
      if (this.#usedIds === buffer.length) this.#flushIds();
      buffer[this.#usedIds++] = id;
    }
    if (this.#usedLengths === this.#documentLengths.length) this.#flushLengths();
    this.#documentLengths[this.#usedLengths++] = ids.length;
  }

  /** Makes the documents added so far durable, and says what {@link resume} needs to go on behind them. */
  async save(): Promise<SavedStore> {
    this.#flushIds();
    this.#flushLengths();
    return { bin: await this.#bin.save(), lengths: await this.#lengths.save() };
  }

  /**
   * Writes the index and publishes both files, the index last: where it is, the tokens are.
   *
   * @param check called before each rename; refuses by throwing, and nothing further appears.
   */
  async finish(check?: () => void): Promise<WrittenStore> {
    let index: AtomicFile | undefined;
    try {
      this.#flushIds();
      this.#flushLengths();
      const { documents, tokens } = this;
      index = new AtomicFile(`${this.#prefix}.idx`);
      this.#writeIndex(index);
      const bin = await this.#bin.commit(check);
      const idx = await index.commit(check);
      // Whoever can be resumed may have to be even now, until the stage is done.
      if (this.#kept) this.#lengths.leave();
      else this.#lengths.abort();
      return { files: [bin, idx], documents, tokens };
    } catch (error) {
      index?.abort();
      if (this.#kept) this.leave();
      else this.abort();
      throw systemFailure(error, `${this.#prefix}.idx`, 'write');
    }
  }

  /** Drops what is not published. */
  abort(): void {
    this.#bin.abort();
    this.#lengths.abort();
  }

  /** Writes no more and leaves the parts where they are, for {@link resume}. */
  leave(): void {
    this.#bin.leave();
    this.#lengths.leave();
  }

  #flushIds(): void {
    this.#bin.write(bytesOf(this.#ids.subarray(0, this.#usedIds)));
    this.#usedIds = 0;
  }

  #flushLengths(): void {
    this.#lengths.write(bytesOf(this.#documentLengths.subarray(0, this.#usedLengths)));
    this.#usedLengths = 0;
  }

  #writeIndex(index: AtomicFile): void {
    const { documents } = this;
    index.write(indexHeader(this.#code, documents, documents));
    for (const lengths of this.#readLengths()) index.write(bytesOf(lengths));
    let offset = 0;
    for (const lengths of this.#readLengths()) {
      const pointers = new BigInt64Array(lengths.length);
      lengths.forEach((length, i) => {
        pointers[i] = BigInt(offset);
        offset += length * this.#ids.BYTES_PER_ELEMENT;
      });
      index.write(bytesOf(pointers));
    }
    for (let first = 0; first <= documents; first += CHUNK_BYTES / 8) {
      const count = Math.min(CHUNK_BYTES / 8, documents + 1 - first);
      index.write(bytesOf(BigInt64Array.from({ length: count }, (_, i) => BigInt(first + i))));
    }
  }

  /** The lengths of all documents, some at a time; overwritten by the next ones. */
  *#readLengths(): Generator<Int32Array> {
    const { part, size } = this.#lengths;
    const descriptor = openSync(part, 'r');
    try {
      for (const piece of piecesOf(descriptor, part, 0, size)) {
        yield new Int32Array(piece.buffer, piece.byteOffset, piece.length / 4);
      }
    } finally {
      closeSync(descriptor);
    }
  }
}

function bytesOf(array: Ids | BigInt64Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

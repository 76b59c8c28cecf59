/** Writes a token store (see token-store.ts) document by document, in memory that does not grow with tokens. */
import { AtomicFile } from './atomic.js';
import type { FileRecord } from './hash.js';
import { indexHeader, typeCode } from './token-store.js';

/** Bytes gathered before they go to the file. */
const CHUNK_BYTES = 1 << 20;

/** What was written: sizes and hashes of both files and what they hold. */
export interface WrittenStore {
  files: [bin: FileRecord, idx: FileRecord];
  documents: number;
  tokens: number;
}

/** A token store in the making; neither file is seen before {@link TokenWriter.finish}. */
export class TokenWriter {
  readonly #bin: AtomicFile;
  readonly #idx: AtomicFile;
  readonly #code: 4 | 8;
  readonly #chunk: Buffer;
  #used = 0;
  #lengths = new Int32Array(1024);
  #documents = 0;
  #tokens = 0;

  /**
   * Begins `prefix`.bin and `prefix`.idx.
   *
   * @param vocabularySize ids are 0 .. vocabularySize - 1; decides how wide they are stored.
   * @throws EnvironmentError, RequestError as {@link AtomicFile} does.
   */
  constructor(prefix: string, vocabularySize: number, chunkBytes = CHUNK_BYTES) {
    this.#code = typeCode(vocabularySize);
    this.#chunk = Buffer.alloc(chunkBytes);
    this.#bin = new AtomicFile(`${prefix}.bin`);
    try {
      this.#idx = new AtomicFile(`${prefix}.idx`);
    } catch (error) {
      this.#bin.abort();
      throw error;
    }
  }

  get documents(): number {
    return this.#documents;
  }

  get tokens(): number {
    return this.#tokens;
  }

  /** Appends one document. @throws RangeError for an id that does not fit the type. */
  add(ids: ArrayLike<number>): void {
    const { write, width } = this.#code === 8 ? UINT16 : INT32;
    for (let i = 0; i < ids.length; i++) {
      if (this.#used + width > this.#chunk.length) this.#flush();
      write(this.#chunk, ids[i]!, this.#used);
      this.#used += width;
    }
    if (this.#documents === this.#lengths.length) {
      const grown = new Int32Array(this.#lengths.length * 2);
      grown.set(this.#lengths);
      this.#lengths = grown;
    }
    this.#lengths[this.#documents++] = ids.length;
    this.#tokens += ids.length;
  }

  /**
   * Writes the index and publishes both files, the index last: where it is, the tokens are.
   *
   * @param check called before each rename; refuses by throwing, and nothing further appears.
   */
  async finish(check?: () => void): Promise<WrittenStore> {
    try {
      this.#flush();
      this.#writeIndex();
      const bin = await this.#bin.commit(check);
      const idx = await this.#idx.commit(check);
      return { files: [bin, idx], documents: this.#documents, tokens: this.#tokens };
    } catch (error) {
      this.abort();
      throw error;
    }
  }

  /** Drops what is not published. */
  abort(): void {
    this.#bin.abort();
    this.#idx.abort();
  }

  #flush(): void {
    this.#bin.write(this.#chunk.subarray(0, this.#used));
    this.#used = 0;
  }

  #writeIndex(): void {
    const lengths = this.#lengths.subarray(0, this.#documents);
    const width = this.#code === 8 ? UINT16.width : INT32.width;
    this.#idx.write(indexHeader(this.#code, this.#documents, this.#documents));
    this.#idx.write(new Uint8Array(lengths.buffer, 0, lengths.byteLength));
    const numbers = new BigInt64Array(this.#documents + 1);
    let offset = 0;
    lengths.forEach((length, d) => {
      numbers[d] = BigInt(offset);
      offset += length * width;
    });
    this.#idx.write(new Uint8Array(numbers.buffer, 0, 8 * this.#documents));
    for (let d = 0; d <= this.#documents; d++) numbers[d] = BigInt(d);
    this.#idx.write(new Uint8Array(numbers.buffer));
  }
}

const UINT16 = { width: 2, write: (to: Buffer, id: number, at: number) => to.writeUInt16LE(id, at) };
const INT32 = { width: 4, write: (to: Buffer, id: number, at: number) => to.writeInt32LE(id, at) };

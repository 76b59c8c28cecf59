/**
 * The token store: documents of token ids in the .bin/.idx pair that Megatron-LM reads and writes ("MMIDIDX",
 * version 1), so that a corpus built here trains there and the other way round.
 *
 * `.bin` is nothing but token ids, little-endian. `.idx`, little-endian too:
 *
 *     0   9 bytes  "MMIDIDX\0\0"
 *     9   uint64   version, 1
 *     17  uint8    type of an id: 8 uint16, 4 int32
 *     18  uint64   S, the number of sequences
 *     26  uint64   D + 1, documents and the end
 *     34  int32[S]     tokens of each sequence
 *         int64[S]     its byte offset in .bin
 *         int64[D + 1] the first sequence of each document, then S
 *
 * A document written here is one sequence; the reader takes documents of several.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { DataError } from '../errors.js';
import { piecesOf } from './pieces.js';
import { systemFailure } from './system-failure.js';

const MAGIC = 'MMIDIDX\0\0';
const HEADER_BYTES = 34;
/** Bytes of an id, by the type codes of Megatron's enumeration that are taken here. */
const BYTES_OF_CODE: Record<number, 2 | 4> = { 8: 2, 4: 4 };

/** Documents are numbered in 32 bits wherever they are chosen. */
const MOST_DOCUMENTS = 2 ** 31 - 1;

/** Token ids as stored: uint16 where the vocabulary allows, else int32. */
export type Ids = Uint16Array | Int32Array;

/** The type code for a vocabulary: ids are 0 .. vocabularySize - 1. */
export function typeCode(vocabularySize: number): 4 | 8 {
  return vocabularySize <= 65_535 ? 8 : 4;
}

/** The 34 bytes before the arrays of an .idx file. */
export function indexHeader(code: number, sequences: number, documents: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MAGIC, 0, 'latin1');
  header.writeBigUInt64LE(1n, 9);
  header.writeUInt8(code, 17);
  header.writeBigUInt64LE(BigInt(sequences), 18);
  header.writeBigUInt64LE(BigInt(documents + 1), 26);
  return header;
}

/**
 * A token store opened for reading. Holds one number per document; tokens are read from the file where they
 * are asked for. Nothing in the files is trusted: every count, size and offset is checked before it is used,
 * and every id that is read is compared with the vocabulary.
 */
export class TokenStore {
  /** Number of documents. */
  readonly documents: number;
  /** Number of tokens, end tokens included. */
  readonly tokens: number;
  /** Path of the .bin file, for messages. */
  readonly file: string;
  readonly #descriptor: number;
  readonly #width: 2 | 4;
  readonly #vocabularySize: number;
  /** Document d is tokens #starts[d] .. #starts[d + 1] of the file. */
  readonly #starts: Float64Array;
  #open = true;

  private constructor(
    file: string,
    descriptor: number,
    width: 2 | 4,
    starts: Float64Array,
    vocabularySize: number,
  ) {
    this.file = file;
    this.#descriptor = descriptor;
    this.#width = width;
    this.#starts = starts;
    this.#vocabularySize = vocabularySize;
    this.documents = starts.length - 1;
    this.tokens = starts[this.documents]!;
  }

  /**
   * Opens `prefix`.bin and `prefix`.idx.
   *
   * @param options.vocabularySize ids at or above it are refused when they are read.
   * @throws DataError naming the file where one is missing, truncated or inconsistent.
   */
  static open(prefix: string, options: { vocabularySize?: number } = {}): TokenStore {
    const { width, starts } = readIndex(`${prefix}.idx`);
    const file = `${prefix}.bin`;
    const descriptor = foreign(file, () => openSync(file, 'r'));
    const expected = starts[starts.length - 1]! * width;
    const found = fstatSync(descriptor).size;
    if (found !== expected) {
      closeSync(descriptor);
      throw new DataError('The token file has another size than its index says.', {
        file,
        expected: `${expected} bytes`,
        found: `${found} bytes`,
      });
    }
    return new TokenStore(file, descriptor, width, starts, options.vocabularySize ?? 2 ** 31);
  }

  /** Number of tokens of document `document`. */
  length(document: number): number {
    return this.start(document + 1) - this.start(document);
  }

  /** Position in the file, in tokens, of the first token of `document`; for `documents` the end. */
  start(document: number): number {
    const start = this.#starts[document];
    if (start === undefined) throw new RangeError(`document ${document} of ${this.documents}`);
    return start;
  }

  /** The document that holds token `position` of the file. */
  documentAt(position: number): number {
    return lastAtMost(this.#starts, position);
  }

  /** The tokens of one document, or its first `limit` ones. */
  document(document: number, limit = Number.POSITIVE_INFINITY): Ids {
    return this.read(this.start(document), Math.min(limit, this.length(document)));
  }

  /** `count` tokens from position `start` of the file, across the boundaries of documents. */
  read(start: number, count: number): Ids {
    if (!this.#open) throw new Error(`${this.file} was closed`);
    if (!(start >= 0 && count >= 0 && start + count <= this.tokens)) {
      throw new RangeError(`tokens ${start} to ${start + count} of ${this.tokens}`);
    }
    const ids = this.#width === 2 ? new Uint16Array(count) : new Int32Array(count);
    const bytes = new Uint8Array(ids.buffer);
    for (let done = 0; done < bytes.length; ) {
      const got = readSync(this.#descriptor, bytes, done, bytes.length - done, start * this.#width + done);
      if (got === 0)
        throw new DataError('The token file was truncated while it was read.', { file: this.file });
      done += got;
    }
    for (let i = 0; i < count; i++) {
      const id = ids[i]!;
      if (id < 0 || id >= this.#vocabularySize) {
        throw new DataError('A token id lies outside the vocabulary.', {
          file: this.file,
          key: `token ${start + i}`,
          expected: `0 to ${this.#vocabularySize - 1}`,
          found: String(id),
        });
      }
    }
    return ids;
  }

  /** Closes the file. Reading afterwards is an error; closing again is not. */
  close(): void {
    if (this.#open) closeSync(this.#descriptor);
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Which of the stretches starts[i] .. starts[i + 1] holds `position`: `starts` rises, from 0, and its last entry
 * is the end. Empty stretches hold nothing.
 */
export function lastAtMost(starts: Float64Array, position: number): number {
  let low = 0;
  let high = starts.length - 2;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (starts[middle]! <= position) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Checks the first bytes of an .idx file and its length, so that a forged count allocates nothing and a huge
 * file of another kind is not read.
 */
function readHeader(file: string): { width: 2 | 4; sequences: number; boundaries: number } {
  const header = Buffer.alloc(HEADER_BYTES);
  const size = foreign(file, () => {
    const descriptor = openSync(file, 'r');
    try {
      readSync(descriptor, header, 0, HEADER_BYTES, 0);
      return fstatSync(descriptor).size;
    } finally {
      closeSync(descriptor);
    }
  });
  if (size < HEADER_BYTES || header.toString('latin1', 0, 9) !== MAGIC) {
    throw new DataError('This is not a token index.', { file, expected: 'a file that begins with MMIDIDX' });
  }
  const version = header.readBigUInt64LE(9);
  if (version !== 1n) {
    throw new DataError('Unknown version of the token index.', {
      file,
      expected: '1',
      found: String(version),
    });
  }
  const code = header.readUInt8(17);
  const width = BYTES_OF_CODE[code];
  if (width === undefined) {
    const expected = 'code 8 (uint16) or 4 (int32)';
    throw new DataError('Unknown type of token ids.', { file, expected, found: String(code) });
  }
  const sequences = header.readBigUInt64LE(18);
  const boundaries = header.readBigUInt64LE(26);
  const expected = BigInt(HEADER_BYTES) + sequences * 12n + boundaries * 8n;
  if (expected !== BigInt(size) || boundaries === 0n) {
    throw new DataError('The token index is truncated or its counts are wrong.', {
      file,
      expected: `${expected} bytes`,
      found: `${size} bytes`,
    });
  }
  const most = BigInt(MOST_DOCUMENTS);
  if (sequences > most || boundaries > most) {
    throw new DataError('The token index has too many documents.', {
      file,
      expected: `at most ${most}`,
      found: `${sequences} sequences, ${boundaries} boundaries`,
    });
  }
  return { width, sequences: Number(sequences), boundaries: Number(boundaries) };
}

/** Reads and checks an .idx file; returns bytes per id and the boundaries of documents, in tokens. */
function readIndex(file: string): { width: 2 | 4; starts: Float64Array } {
  const { width, sequences, boundaries } = readHeader(file);
  const descriptor = foreign(file, () => openSync(file, 'r'));
  try {
    return foreign(file, () => ({
      width,
      starts: readArrays(descriptor, file, width, sequences, boundaries),
    }));
  } finally {
    closeSync(descriptor);
  }
}

/** The three arrays behind the header, in pieces, for an index may be larger than what is read at once. */
function readArrays(
  descriptor: number,
  file: string,
  width: 2 | 4,
  sequences: number,
  boundaries: number,
): Float64Array {
  const wrong = (message: string, expected: string, found: string): DataError =>
    new DataError(message, { file, expected, found });
  const pointers = HEADER_BYTES + 4 * sequences;
  const ends = new Float64Array(sequences + 1);
  let s = 0;
  for (const piece of piecesOf(descriptor, file, HEADER_BYTES, 4 * sequences)) {
    for (const size of new Int32Array(piece.buffer, 0, piece.length / 4)) {
      if (size < 0) throw wrong('A sequence has a negative size.', '0 or more', `sequence ${s}: ${size}`);
      ends[s + 1] = ends[s]! + size;
      s++;
    }
  }
  s = 0;
  for (const piece of piecesOf(descriptor, file, pointers, 8 * sequences)) {
    for (const offset of new BigInt64Array(piece.buffer, 0, piece.length / 8)) {
      const expected = ends[s]! * width;
      if (offset !== BigInt(expected)) {
        throw wrong('Sequences do not lie one after the other.', `${expected}`, `sequence ${s} at ${offset}`);
      }
      s++;
    }
  }
  const starts = new Float64Array(boundaries);
  let previous = 0n;
  let d = 0;
  for (const piece of piecesOf(descriptor, file, pointers + 8 * sequences, 8 * boundaries)) {
    for (const sequence of new BigInt64Array(piece.buffer, 0, piece.length / 8)) {
      const last = d === boundaries - 1 ? BigInt(sequences) : sequence;
      if (
        (d === 0 && sequence !== 0n) ||
        sequence < previous ||
        sequence !== last ||
        sequence > BigInt(sequences)
      ) {
        throw wrong(
          'The document boundaries are wrong.',
          `0, rising to ${sequences}`,
          `boundary ${d}: ${sequence}`,
        );
      }
      starts[d++] = ends[Number(sequence)]!;
      previous = sequence;
    }
  }
  return starts;
}

/** Runs a file operation; a system error becomes one of ours that names the file. */
function foreign<T>(file: string, operation: () => T): T {
  try {
    return operation();
  } catch (error) {
    throw systemFailure(error, file, 'read');
  }
}

/**
 * Zstandard (RFC 8878) through fzstd, one frame at a time. fzstd takes a frame header at its word, allocating
 * whatever window it asks for, and does not look at checksums: both are done here, and frames are told apart.
 */
import { Decompress } from 'fzstd';
import { DataError } from '../errors.js';
import { XxHash64 } from './xxhash64.js';

/** The largest window that is allocated: that of zstd's own decoder where it is not told otherwise (--long=27). */
const MAX_WINDOW = 2 ** 27;
const FRAME = 0xfd2fb528;
/** Of skippable frames, whose last four bits are free. */
const SKIPPABLE = 0x184d2a50;
/** The largest block by the format. */
const MAX_BLOCK = 2 ** 17;

interface Header {
  bytes: number;
  /** Bytes of the content, where the frame tells. */
  content: number | null;
  checksum: boolean;
}

/** Input of which any number of bytes can be asked for. */
class Input {
  readonly #source: AsyncIterator<Buffer> | Iterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);
  /** Bytes taken. */
  offset = 0;

  constructor(source: AsyncIterable<Buffer> | Iterable<Buffer>) {
    this.#source =
      Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  }

  /** At least `bytes` bytes without taking them, fewer only at the end. */
  async peek(bytes: number): Promise<Buffer> {
    while (this.#held.length < bytes) {
      const next = await this.#source.next();
      if (next.done === true) break;
      this.#held = this.#held.length === 0 ? next.value : Buffer.concat([this.#held, next.value]);
    }
    return this.#held;
  }

  /** The next bytes, or null where the input ends before. */
  async take(bytes: number): Promise<Buffer | null> {
    const held = await this.peek(bytes);
    if (held.length < bytes) return null;
    this.#held = held.subarray(bytes);
    this.offset += bytes;
    return held.subarray(0, bytes);
  }

  /** Passes over bytes, held by nobody; false where the input ends before. */
  async skip(bytes: number): Promise<boolean> {
    for (let left = bytes; left > 0; ) {
      const held = await this.peek(1);
      if (held.length === 0) return false;
      const some = Math.min(left, held.length);
      await this.take(some);
      left -= some;
    }
    return true;
  }
}

/**
 * The content of all frames of `source`, in pieces of at most 128 KiB.
 * @param file named in errors
 * @throws DataError with the byte where a frame is damaged, cut off, needs a dictionary or too large a window.
 */
export async function* decompressFrames(
  source: AsyncIterable<Buffer> | Iterable<Buffer>,
  file: string,
): AsyncGenerator<Buffer> {
  const input = new Input(source);
  for (;;) {
    const start = input.offset;
    const damaged = (found: string): DataError =>
      new DataError('The zstd stream is damaged.', { file, key: `frame at byte ${start}`, found });
    const magic = await input.peek(4);
    if (magic.length === 0) return;
    if (magic.length < 4) throw damaged('cut off');
    const number = magic.readUInt32LE(0);
    if ((number & 0xfffffff0) >>> 0 === SKIPPABLE) {
      const head = await input.take(8);
      if (head === null || !(await input.skip(head.readUInt32LE(4)))) throw damaged('cut off');
    } else if (number === FRAME) {
      yield* decompressFrame(input, damaged);
    } else throw damaged('no zstd frame');
  }
}

async function* decompressFrame(input: Input, damaged: (found: string) => DataError): AsyncGenerator<Buffer> {
  const header = parseHeader(await input.peek(18), damaged);
  const hash = header.checksum ? new XxHash64() : null;
  let pieces: Buffer[] = [];
  let size = 0;
  const frame = new Decompress((piece) => {
    if (piece.length > 0) pieces.push(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength));
  });
  const push = (bytes: Buffer, last: boolean): void => {
    try {
      frame.push(bytes, last);
    } catch (error) {
      throw damaged((error as Error).message);
    }
  };
  push(await required(input, header.bytes, damaged), false);
  for (let last = false; !last; ) {
    const block = (await input.peek(3)).subarray(0, 3);
    if (block.length < 3) throw damaged('cut off');
    const bits = block.readUIntLE(0, 3);
    last = (bits & 1) === 1;
    const type = (bits >> 1) & 3;
    const length = bits >> 3;
    if (type === 3 || length > MAX_BLOCK) throw damaged('a block that is none');
    const bytes = await required(input, 3 + (type === 1 ? 1 : length), damaged);
    push(bytes, last && !header.checksum);
    // fzstd begins with a frame when it has 18 bytes of it, so that a piece may belong to earlier blocks.
    for (const piece of pieces) {
      size += piece.length;
      hash?.update(piece);
      if (header.content !== null && size > header.content) throw damaged('more content than the frame says');
      yield piece;
    }
    pieces = [];
  }
  if (header.checksum) {
    const stored = await required(input, 4, damaged);
    push(stored, true);
    for (const piece of pieces) {
      size += piece.length;
      hash!.update(piece);
      yield piece;
    }
    if (hash!.low() !== stored.readUInt32LE(0)) throw damaged('a content whose checksum is another');
  }
  if (header.content !== null && size !== header.content) throw damaged('less content than the frame says');
}

async function required(input: Input, bytes: number, damaged: (found: string) => DataError): Promise<Buffer> {
  const taken = await input.take(bytes);
  if (taken === null) throw damaged('cut off');
  return taken;
}

/** The frame header at the beginning of `bytes` (RFC 8878, 3.1.1.1). */
function parseHeader(bytes: Buffer, damaged: (found: string) => DataError): Header {
  if (bytes.length < 6) throw damaged('cut off');
  const descriptor = bytes[4]!;
  const single = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  const contentBytes = [single ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
  if ((descriptor & 8) !== 0) throw damaged('a header with its reserved bit set');
  const at = 5 + (single ? 0 : 1) + dictionaryBytes;
  if (bytes.length < at + contentBytes) throw damaged('cut off');
  for (let i = at - dictionaryBytes; i < at; i++) if (bytes[i] !== 0) throw damaged('a dictionary is needed');
  const content = contentOf(bytes, at, contentBytes);
  const exponent = 2 ** (10 + (bytes[5]! >> 3));
  const window = single ? content! : exponent + (exponent / 8) * (bytes[5]! & 7);
  if (window > MAX_WINDOW) {
    throw damaged(`a window of ${window} bytes; at most ${MAX_WINDOW} (zstd --long=27) are taken`);
  }
  return { bytes: at + contentBytes, content, checksum: (descriptor & 4) !== 0 };
}

function contentOf(bytes: Buffer, at: number, length: number): number | null {
  if (length === 0) return null;
  if (length === 8) return Number(bytes.readBigUInt64LE(at));
  return bytes.readUIntLE(at, length) + (length === 2 ? 256 : 0);
}

/**
 * Safetensors files: a reader that trusts nothing and reads any part of any tensor, and a writer that streams
 * tensors one after another with the hash computed on the way.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { DataError } from '../errors.js';
import { streamFileAtomic } from './atomic.js';
import type { FileRecord } from './hash.js';
import {
  DTYPE_BYTES,
  MAX_HEADER_BYTES,
  parseHeader,
  type SafetensorsDtype,
  type TensorInfo,
  tensorBytes,
} from './safetensors-header.js';
import { systemFailure } from './system-failure.js';

export { DTYPE_BYTES, type SafetensorsDtype, type TensorInfo } from './safetensors-header.js';

/** A read-only view of one file. Close it when done. */
export class SafetensorsReader {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly #tensors: Map<string, TensorInfo>;
  #descriptor: number | null;

  private constructor(path: string, descriptor: number) {
    this.path = path;
    this.#descriptor = descriptor;
    const fileBytes = fstatSync(descriptor).size;
    const prefix = Buffer.alloc(8);
    if (fileBytes < 8) {
      throw new DataError('The safetensors file is truncated: no header.', {
        file: path,
        expected: 'at least 8 bytes',
        found: `${fileBytes} bytes`,
      });
    }
    this.#fill(prefix, 0, 'header');
    const length = prefix.readBigUInt64LE();
    if (length > BigInt(MAX_HEADER_BYTES)) {
      throw new DataError('Not a safetensors file: its header would be too long.', {
        file: path,
        key: 'header length',
        expected: `at most ${MAX_HEADER_BYTES} bytes`,
        found: `${length} bytes`,
      });
    }
    if (Number(length) + 8 > fileBytes) {
      throw new DataError('The safetensors file is truncated within its header.', {
        file: path,
        key: 'header',
        expected: `at least ${Number(length) + 8} bytes`,
        found: `${fileBytes} bytes`,
      });
    }
    const header = Buffer.alloc(Number(length));
    this.#fill(header, 8, 'header');
    const parsed = parseHeader(path, header, fileBytes);
    this.#tensors = parsed.tensors;
    this.metadata = parsed.metadata;
  }

  /**
   * Opens a file and checks its header against its length.
   * @throws DataError naming file and tensor for anything that does not fit.
   */
  static open(path: string): SafetensorsReader {
    let descriptor: number | undefined;
    try {
      descriptor = openSync(path, 'r');
      return new SafetensorsReader(path, descriptor);
    } catch (error) {
      if (descriptor !== undefined) closeSync(descriptor);
      throw systemFailure(error, path, 'read');
    }
  }

  /** Names in the order in which the tensors lie in the file. */
  get names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** Whether the file holds a tensor of this name. */
  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /**
   * Type and place of a tensor.
   * @throws DataError when the file has none of this name.
   */
  info(name: string): TensorInfo {
    const info = this.#tensors.get(name);
    if (info === undefined)
      throw new DataError(`${this.path} has no tensor ${name}.`, { file: this.path, key: name });
    return info;
  }

  /**
   * Raw little-endian bytes of a tensor, or of `length` bytes from `offset` within it. They go into the start
   * of `into` where it is given; the filled part is returned.
   * @throws DataError for an unknown name and when the file has shrunk since it was opened.
   */
  read(name: string, into?: Uint8Array, offset = 0, length = this.info(name).bytes - offset): Uint8Array {
    const info = this.info(name);
    if (
      !Number.isSafeInteger(offset) ||
      !Number.isSafeInteger(length) ||
      offset < 0 ||
      length < 0 ||
      offset + length > info.bytes
    ) {
      throw new RangeError(`bytes ${offset} to ${offset + length} of ${name}, which has ${info.bytes}`);
    }
    if (into !== undefined && into.length < length)
      throw new RangeError(`a buffer of ${into.length} bytes for ${length}`);
    const target = into === undefined ? new Uint8Array(length) : into.subarray(0, length);
    this.#fill(target, info.offset + offset, name);
    return target;
  }

  close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
  }

  #fill(target: Uint8Array, position: number, key: string): void {
    if (this.#descriptor === null) throw new Error(`${this.path} is closed`);
    for (let done = 0; done < target.length; ) {
      let count: number;
      try {
        count = readSync(
          this.#descriptor,
          target,
          done,
          Math.min(target.length - done, 1 << 28),
          position + done,
        );
      } catch (error) {
        throw systemFailure(error, this.path, 'read');
      }
      if (count === 0)
        throw new DataError('The safetensors file became shorter while it was read.', {
          file: this.path,
          key,
        });
      done += count;
    }
  }
}

/** Takes the next bytes of a tensor; the buffer may be reused at once. */
type Sink = (chunk: Uint8Array) => void;

/** A tensor to be written: its type, and a function that hands out its bytes, in one or many pieces. */
export interface TensorSource {
  name: string;
  dtype: SafetensorsDtype;
  shape: readonly number[];
  write(sink: Sink): void | Promise<void>;
}

/** Bytes a tensor takes on disk. */
export function sourceBytes(source: Pick<TensorSource, 'name' | 'dtype' | 'shape'>): number {
  const bytes = tensorBytes(source.dtype, source.shape);
  if (bytes === null)
    throw new RangeError(`tensor ${source.name} has no valid size: ${source.dtype} [${source.shape}]`);
  return bytes;
}

/** Header for tensors in this order; padded with spaces so that the data begins at a multiple of 8. */
function buildHeader(tensors: readonly TensorSource[], metadata: Record<string, string>): Uint8Array {
  const entries: [string, unknown][] = [['__metadata__', metadata]];
  let end = 0;
  for (const tensor of tensors) {
    const begin = end;
    end += sourceBytes(tensor);
    entries.push([tensor.name, { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [begin, end] }]);
  }
  if (new Set(entries.map(([name]) => name)).size !== entries.length)
    throw new Error('two tensors have the same name');
  // Written out by hand: as an object, names that look like numbers would change their order.
  const json = Buffer.from(
    `{${entries.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`)}}`,
    'utf8',
  );
  const padded = Math.ceil(json.length / 8) * 8;
  const header = Buffer.alloc(8 + padded, ' ');
  header.writeBigUInt64LE(BigInt(padded));
  json.copy(header, 8);
  return header;
}

/**
 * Writes tensors to one file, whole or not at all. They lie in the given order, except that wider types come
 * first, as the format's own writer does it, so that every tensor is aligned to its element. The event loop
 * turns between tensors. `check` as in AtomicFile.commit.
 * @returns the file's name, size and SHA-256.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorSource>,
  options: { metadata?: Record<string, string>; check?: () => void } = {},
): Promise<FileRecord> {
  const ordered = [...tensors].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype]);
  const header = buildHeader(ordered, { format: 'pt', ...options.metadata });
  return streamFileAtomic(
    path,
    async (file) => {
      file.write(header);
      for (const tensor of ordered) {
        const end = file.size + sourceBytes(tensor);
        await tensor.write((chunk) => file.write(chunk));
        if (file.size !== end)
          throw new Error(`tensor ${tensor.name}: ${file.size - end} bytes more than its shape has`);
        await setImmediate();
      }
    },
    options.check,
  );
}

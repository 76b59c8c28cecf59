/** The compressions of Parquet pages. None gives out more than the page header says. */
import { gunzipSync, inflateSync } from 'node:zlib';
import { compressors } from 'hyparquet-compressors';
import { decompressFrames } from './zstd.js';

/**
 * The `size` bytes of a page: gzip through Node's own zlib, zstd with the bounds of {@link decompressFrames}, what
 * else there is through hyparquet-compressors.
 * @throws Error for damaged input, another size, or a codec that is not known
 */
export async function decompressPage(codec: string, bytes: Uint8Array, size: number): Promise<Uint8Array> {
  const page = await inflate(codec, bytes, size);
  if (page.length !== size) throw new Error(`a page of ${page.length} bytes instead of ${size}`);
  return page;
}

async function inflate(codec: string, bytes: Uint8Array, size: number): Promise<Uint8Array> {
  switch (codec) {
    case 'UNCOMPRESSED':
      return bytes;
    case 'GZIP': {
      if (size === 0) return new Uint8Array(0);
      // Some writers store a bare zlib stream under this name.
      return (bytes[0] === 0x1f ? gunzipSync : inflateSync)(bytes, { maxOutputLength: size });
    }
    case 'ZSTD':
      return inflateFrames(bytes, size);
    case 'SNAPPY':
    case 'BROTLI':
    case 'LZ4':
    case 'LZ4_RAW':
      return compressors[codec]!(bytes, size);
    default:
      throw new Error(`the compression ${codec}`);
  }
}

async function inflateFrames(bytes: Uint8Array, size: number): Promise<Uint8Array> {
  const page = new Uint8Array(size);
  let filled = 0;
  const source = [Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)];
  for await (const piece of decompressFrames(source, 'page')) {
    if (filled + piece.length > size) throw new Error(`a page of more than ${size} bytes`);
    page.set(piece, filled);
    filled += piece.length;
  }
  return page.subarray(0, filled);
}

/** The bytes of a file, gzip and zstd undone by the ends of its name, streamed. */
import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { DataError, isSystemError } from '../errors.js';
import { systemFailure } from '../formats/system-failure.js';
import { decompressFrames } from './zstd.js';

const PIECE = 1 << 18;
/** Of gzip at once: inflated at most a thousand times, which is what is held. */
const GZIP_PIECE = 1 << 16;

/**
 * Reads `file` in pieces.
 * @param read told how many bytes of the file, as it lies, were read since it was told before
 * @throws DataError for a damaged stream, after what stands before the damage; as {@link systemFailure} where the
 * file cannot be read.
 */
export async function* readBytes(file: string, read?: (bytes: number) => void): AsyncGenerator<Buffer> {
  const zipped = file.endsWith('.gz');
  const raw = createReadStream(file, { highWaterMark: zipped ? GZIP_PIECE : PIECE });
  try {
    if (zipped) yield* inflate(counted(raw, read));
    else if (file.endsWith('.zst')) yield* decompressFrames(counted(raw, read), file);
    else yield* counted(raw, read);
  } catch (cause) {
    if (isSystemError(cause) && cause.code?.startsWith('Z_')) {
      throw new DataError(`The gzip stream is damaged: ${cause.message}`, { file, found: cause.code, cause });
    }
    throw systemFailure(cause, file, 'read');
  } finally {
    raw.destroy();
  }
}

async function* counted(
  pieces: AsyncIterable<Buffer>,
  read: (bytes: number) => void = () => {},
): AsyncGenerator<Buffer> {
  for await (const piece of pieces) {
    read(piece.length);
    yield piece;
  }
}

/**
 * Piece by piece rather than through a pipe: a pipe drops what it holds when it fails, so that how much of a damaged
 * stream is read would depend on the moment.
 */
async function* inflate(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const gunzip = createGunzip({ chunkSize: PIECE });
  let inflated: Buffer[] = [];
  let failure: Error | undefined;
  gunzip.on('data', (bytes: Buffer) => inflated.push(bytes));
  gunzip.on('error', (error) => {
    failure ??= error;
  });
  // After a failure the stream calls nobody back.
  const done = (begin: (settle: () => void) => void): Promise<void> =>
    new Promise((resolve) => {
      const settle = (): void => {
        gunzip.off('close', settle).off('end', settle);
        resolve();
      };
      gunzip.on('close', settle).on('end', settle);
      begin(settle);
    });
  function* take(): Generator<Buffer> {
    const taken = inflated;
    inflated = [];
    yield* taken;
    if (failure !== undefined) throw failure;
  }
  try {
    for await (const piece of source) {
      await done((settle) => gunzip.write(piece, settle));
      yield* take();
    }
    await done(() => gunzip.end());
    yield* take();
  } finally {
    gunzip.destroy();
  }
}

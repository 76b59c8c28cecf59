/** A stretch of a file in pieces, for files of any size that are read from one end to the other. */
import { readSync } from 'node:fs';
import { DataError } from '../errors.js';

/** A multiple of the size of every number that is stored. */
const PIECE_BYTES = 1 << 20;

/**
 * Bytes start .. start + length - 1 of an open file, 1 MiB at a time, each piece but the last whole. A piece is
 * overwritten by the next.
 *
 * @throws DataError naming `file` where it ends before that; a system error where reading fails
 */
export function* piecesOf(
  descriptor: number,
  file: string,
  start: number,
  length: number,
): Generator<Uint8Array> {
  const buffer = new Uint8Array(Math.min(PIECE_BYTES, length));
  for (let done = 0; done < length; ) {
    const wanted = Math.min(buffer.length, length - done);
    for (let got = 0; got < wanted; ) {
      const more = readSync(descriptor, buffer, got, wanted - got, start + done + got);
      if (more === 0) throw new DataError('The file was truncated while it was read.', { file });
      got += more;
    }
    yield buffer.subarray(0, wanted);
    done += wanted;
  }
}

/**
 * Lines of a text file, streamed: gzip undone, UTF-8 checked, every fault with its place. Lines end with "\n"
 * or "\r\n"; a byte order mark at the beginning is dropped. Memory is that of the longest line.
 */
import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { DataError, isSystemError } from '../errors.js';
import { systemFailure } from '../formats/system-failure.js';

/** The longest line, and the longest document, that is taken; a longer one is a wrong file or unit. */
export const MAX_DOCUMENT_BYTES = 64 * 2 ** 20;

/** A line with its number, from 1, without its end. */
export interface Line {
  text: string;
  number: number;
}

const NEWLINE = 0x0a;

/**
 * Reads `file` (through gzip where its name ends in .gz), some lines at a time.
 *
 * @throws DataError naming file and line where bytes are not UTF-8, a NUL byte stands or a line is longer than
 * `limit` bytes; naming the file where it is missing or its gzip stream is damaged.
 */
export async function* readLines(file: string, limit = MAX_DOCUMENT_BYTES): AsyncGenerator<Line[]> {
  let number = 1;
  let offset = 0;
  let rest: Buffer[] = [];
  let restBytes = 0;
  for await (const chunk of readChunks(file)) {
    const end = chunk.lastIndexOf(NEWLINE) + 1;
    // With no newline yet, the line goes on; its pieces are joined once, when its end is known.
    if (end > 0) {
      const whole = Buffer.concat([...rest, chunk.subarray(0, end)]);
      const lines = decode(file, whole, number, offset, limit);
      number += lines.length;
      offset += whole.length;
      rest = [];
      restBytes = 0;
      yield lines;
    }
    if (end < chunk.length) rest.push(chunk.subarray(end));
    restBytes += chunk.length - end;
    if (restBytes > limit) throw tooLong(file, number, limit);
  }
  if (restBytes > 0) yield decode(file, Buffer.concat(rest), number, offset, limit);
}

/** Bytes as lines. `bytes` ends with a newline or is the last line; `offset` is its place in the file. */
function decode(file: string, bytes: Buffer, number: number, offset: number, limit: number): Line[] {
  if (!isUtf8(bytes)) throw notUtf8(file, bytes, number, offset);
  const nul = bytes.indexOf(0);
  if (nul >= 0) {
    throw new DataError('The file has a NUL byte: it is no text, or text in UTF-16.', {
      file,
      key: `line ${number + count(bytes.subarray(0, nul))}, byte ${offset + nul}`,
      expected: 'text in UTF-8',
    });
  }
  const marked = offset === 0 && bytes.length >= 3 && bytes.readUIntBE(0, 3) === 0xefbbbf;
  const body = bytes.at(-1) === NEWLINE ? bytes.subarray(0, -1) : bytes;
  const texts = body.toString('utf8', marked ? 3 : 0).split('\n');
  return texts.map((raw, i) => {
    // A string has at most as many code units as bytes, so this is exact for ASCII and generous otherwise.
    if (raw.length > limit) throw tooLong(file, number + i, limit);
    return { text: raw.endsWith('\r') ? raw.slice(0, -1) : raw, number: number + i };
  });
}

function tooLong(file: string, number: number, limit: number): DataError {
  return new DataError('A line is too long to be one.', {
    file,
    key: `line ${number}`,
    expected: `at most ${limit} bytes`,
    hint: 'is this the right format, and is the file text?',
  });
}

/** The error for bytes that are not UTF-8, with the first bad one. */
function notUtf8(file: string, bytes: Buffer, number: number, offset: number): DataError {
  // The longest prefix that decodes, by bisection; a sequence cut at the end of a prefix counts as decoding.
  let low = 0;
  let high = bytes.length;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (decodes(bytes.subarray(0, middle), true)) low = middle;
    else high = middle - 1;
  }
  const cut = low === bytes.length;
  // Back to where the sequence begins that does not go on as it should.
  while (!decodes(bytes.subarray(0, low), false)) low--;
  const shown = [...bytes.subarray(low, low + 4)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return new DataError('The file is not UTF-8.', {
    file,
    key: `line ${number + count(bytes.subarray(0, low))}, byte ${offset + low}`,
    expected: 'text in UTF-8',
    found: cut ? `a character cut off at the end: bytes ${shown}` : `bytes ${shown}`,
    hint: 'convert it, e.g. iconv -f LATIN1 -t UTF-8',
  });
}

function decodes(bytes: Buffer, stream: boolean): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream });
    return true;
  } catch {
    return false;
  }
}

/** Newlines among `bytes`. */
function count(bytes: Buffer): number {
  let newlines = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) newlines++;
  return newlines;
}

/** The file's bytes, gzip undone. */
async function* readChunks(file: string): AsyncGenerator<Buffer> {
  const raw = createReadStream(file, { highWaterMark: 1 << 18 });
  let stream: Readable = raw;
  if (file.endsWith('.gz')) {
    const gunzip = createGunzip({ chunkSize: 1 << 18 });
    raw.on('error', (error) => gunzip.destroy(error));
    stream = raw.pipe(gunzip);
  }
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (cause) {
    if (isSystemError(cause) && cause.code?.startsWith('Z_')) {
      throw new DataError(`The gzip stream is damaged: ${cause.message}`, { file, found: cause.code, cause });
    }
    throw systemFailure(cause, file, 'read');
  } finally {
    raw.destroy();
  }
}

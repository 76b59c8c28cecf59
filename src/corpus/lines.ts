/**
 * Lines of a text file, streamed: compression undone, UTF-8 checked, every fault with its place. Lines end with
 * "\n" or "\r\n"; a byte order mark at the beginning is dropped. Memory is that of the longest line.
 */
import { isUtf8 } from 'node:buffer';
import { DataError } from '../errors.js';
import { readBytes } from './decompress.js';

/** The longest line, and the longest document, that is taken; a longer one is a wrong file or unit. */
export const MAX_DOCUMENT_BYTES = 64 * 2 ** 20;

/** A line with its number, from 1, without its end; or what is wrong with it. */
export interface Line {
  /** Empty where there is a fault. */
  text: string;
  number: number;
  fault?: DataError;
  /** How many lines the fault concerns, where that is known to be more than this one. */
  lines?: number;
}

const NEWLINE = 0x0a;

/**
 * Reads `file` (through gzip or zstd where its name says so), some lines at a time. A line that is not UTF-8, has
 * a NUL byte or is longer than `limit` bytes is given as a fault, and so is the rest of a stream that is damaged.
 *
 * @throws DataError, EnvironmentError where the file cannot be read, or its stream from the first byte on.
 */
export async function* readLines(
  file: string,
  limit = MAX_DOCUMENT_BYTES,
  read?: (bytes: number) => void,
): AsyncGenerator<Line[]> {
  let number = 1;
  let offset = 0;
  let rest: Buffer[] = [];
  let restBytes = 0;
  let overlong = false;
  try {
    for await (const chunk of readBytes(file, read)) {
      const end = chunk.lastIndexOf(NEWLINE) + 1;
      // With no newline yet, the line goes on; its pieces are joined once, when its end is known.
      if (end > 0) {
        const first = overlong ? chunk.indexOf(NEWLINE) + 1 : 0;
        if (overlong) {
          yield [{ text: '', number, fault: tooLong(file, number, limit) }];
          number++;
          offset += restBytes + first;
        }
        const whole = Buffer.concat([...rest, chunk.subarray(first, end)]);
        if (whole.length > 0) {
          const lines = decode(file, whole, number, offset, limit);
          number += lines.length;
          offset += whole.length;
          yield lines;
        }
        rest = [];
        restBytes = 0;
        overlong = false;
      }
      restBytes += chunk.length - end;
      overlong ||= restBytes > limit;
      if (overlong) rest = [];
      else if (end < chunk.length) rest.push(chunk.subarray(end));
    }
  } catch (error) {
    if (!(error instanceof DataError) || offset + restBytes === 0) throw error;
    yield [{ text: '', number, fault: cutShort(error, number) }];
    return;
  }
  if (overlong) yield [{ text: '', number, fault: tooLong(file, number, limit) }];
  else if (restBytes > 0) yield decode(file, Buffer.concat(rest), number, offset, limit);
}

/**
 * The error of a damaged stream with the line that it cuts. Lines before it may be wrong as well: gzip has a checksum
 * only at its end.
 */
function cutShort({ message, file, key, found, cause }: DataError, number: number): DataError {
  return new DataError(message, {
    ...(file !== undefined && { file }),
    key: `line ${number} and what follows${key === undefined ? '' : `, ${key}`}`,
    ...(found !== undefined && { found }),
    cause,
  });
}

/** Bytes as lines. `bytes` ends with a newline or is the last line; `offset` is its place in the file. */
function decode(file: string, bytes: Buffer, number: number, offset: number, limit: number): Line[] {
  const marked = offset === 0 && bytes.length >= 3 && bytes.readUIntBE(0, 3) === 0xefbbbf ? 3 : 0;
  const body = bytes.at(-1) === NEWLINE ? bytes.subarray(0, -1) : bytes;
  if (!isUtf8(bytes) || bytes.includes(0)) return decodeEach(file, body, number, offset, marked);
  const texts = body.toString('utf8', marked).split('\n');
  return texts.map((raw, i) => {
    // A string has at most as many code units as bytes, so this is exact for ASCII and generous otherwise.
    if (raw.length > limit) return { text: '', number: number + i, fault: tooLong(file, number + i, limit) };
    return { text: withoutReturn(raw), number: number + i };
  });
}

/** The lines of bytes of which some are no text. */
function decodeEach(file: string, body: Buffer, number: number, offset: number, marked: number): Line[] {
  const lines: Line[] = [];
  for (let start = 0; start <= body.length; number++) {
    const newline = body.indexOf(NEWLINE, start);
    const end = newline < 0 ? body.length : newline;
    const bytes = body.subarray(start, end);
    const nul = bytes.indexOf(0);
    const text = withoutReturn(bytes.toString('utf8', start === 0 ? marked : 0));
    if (!isUtf8(bytes)) lines.push({ text: '', number, fault: notUtf8(file, bytes, number, offset + start) });
    else if (nul >= 0) lines.push({ text: '', number, fault: hasNul(file, number, offset + start + nul) });
    else lines.push({ text, number });
    start = end + 1;
  }
  return lines;
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line;
}

function tooLong(file: string, number: number, limit: number): DataError {
  return new DataError('A line is too long to be one.', {
    file,
    key: `line ${number}`,
    expected: `at most ${limit} bytes`,
    hint: 'is this the right format, and is the file text?',
  });
}

function hasNul(file: string, number: number, byte: number): DataError {
  return new DataError('The file has a NUL byte: it is no text, or text in UTF-16.', {
    file,
    key: `line ${number}, byte ${byte}`,
    expected: 'text in UTF-8',
  });
}

/** The error for a line that is not UTF-8, with its first bad bytes. */
function notUtf8(file: string, line: Buffer, number: number, offset: number): DataError {
  const { at, cut, shown } = firstBadBytes(line);
  return new DataError('The file is not UTF-8.', {
    file,
    key: `line ${number}, byte ${offset + at}`,
    expected: 'text in UTF-8',
    found: cut ? `a character cut off at the end: bytes ${shown}` : `bytes ${shown}`,
    hint: 'convert it, e.g. iconv -f LATIN1 -t UTF-8',
  });
}

/** Where bytes stop to be UTF-8, in hexadecimal what stands there, and whether they only end too early. */
export function firstBadBytes(bytes: Uint8Array): { at: number; cut: boolean; shown: string } {
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
  return { at: low, cut, shown };
}

function decodes(bytes: Uint8Array, stream: boolean): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream });
    return true;
  } catch {
    return false;
  }
}

/** The rows of a data file, each an object with its place: JSON lines, MMLU's headerless CSV, or Parquet. */
import { open } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { readBytes } from '../../corpus/decompress.js';
import { readLines } from '../../corpus/lines.js';
import { DataError } from '../../errors.js';
import { systemFailure } from '../../formats/system-failure.js';
import { parseCsv } from './csv.js';

/** Evaluation sets have some megabytes; a larger file is another file. */
const MAX_BYTES = 2 ** 29;

/** One row and where it stands. */
export interface Row {
  value: Record<string, unknown>;
  file: string;
  /** `line 3`, `row 3`. */
  place: string;
}

/**
 * All rows of a file.
 *
 * @throws DataError for what is not of the form that its name says
 */
export async function readRows(file: string): Promise<Row[]> {
  const name = file.replace(/\.(gz|zst)$/, '');
  if (name.endsWith('.csv')) return csvRows(file);
  if (name.endsWith('.parquet')) return parquetRows(file);
  return jsonRows(file);
}

async function jsonRows(file: string): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const lines of readLines(file)) {
    for (const { text, number, fault } of lines) {
      if (fault !== undefined) throw fault;
      if (text.trim() === '') continue;
      const place = `line ${number}`;
      let value: unknown;
      try {
        value = JSON.parse(text);
      } catch (cause) {
        const { message } = cause as Error;
        throw new DataError('A line is not JSON.', { file, key: place, found: message, cause });
      }
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        throw new DataError('A line is not a JSON object.', { file, key: place, found: text.slice(0, 80) });
      }
      rows.push({ value: value as Record<string, unknown>, file, place });
    }
  }
  return rows;
}

/** MMLU's own layout: question, four choices, the answer's letter; the file's name begins with the subject. */
async function csvRows(file: string): Promise<Row[]> {
  const pieces: Buffer[] = [];
  for await (const piece of readBytes(file)) pieces.push(piece);
  const subject = basename(file).replace(/_(dev|val|test)\.csv.*$/, '');
  return parseCsv(Buffer.concat(pieces).toString('utf8'), file, 6).map(({ fields, line }) => {
    const [question, ...rest] = fields as [string, ...string[]];
    const letter = rest.pop()!;
    const answer = letter.length === 1 ? 'ABCD'.indexOf(letter) : -1;
    const place = `line ${line}`;
    if (answer < 0) {
      throw new DataError('The answer of a row is none of A, B, C, D.', { file, key: place, found: letter });
    }
    return { value: { question, subject, choices: rest, answer }, file, place };
  });
}

async function parquetRows(file: string): Promise<Row[]> {
  const handle = await open(file).catch((error) => {
    throw systemFailure(error, file, 'read');
  });
  try {
    const { size } = await handle.stat();
    const slice = async (start: number, end = size): Promise<ArrayBuffer> => {
      if (!(start >= 0 && start <= end && end <= size && end - start <= MAX_BYTES)) {
        throw new Error(`bytes ${start} to ${end} of ${size}`);
      }
      const bytes = new Uint8Array(end - start);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
      if (bytesRead < bytes.length) throw new Error('the file ends too early');
      return bytes.buffer;
    };
    // Numbers of 64 bits come as bigint: labels, which are small.
    const plain = (value: unknown): unknown =>
      typeof value === 'bigint'
        ? Number(value)
        : Array.isArray(value)
          ? value.map(plain)
          : typeof value === 'object' && value !== null
            ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]))
            : value;
    const rows = await parquetReadObjects({ file: { byteLength: size, slice }, compressors });
    // Data sets of one configuration a folder carry the subject in the folder's name alone.
    const subject = basename(dirname(file));
    return rows.map((row, i) => ({
      value: { subject, ...(plain(row) as Record<string, unknown>) },
      file,
      place: `row ${i + 1}`,
    }));
  } catch (cause) {
    if (!(cause instanceof Error) || cause instanceof DataError || 'syscall' in cause) throw cause;
    throw new DataError('The file is no Parquet file that can be read.', {
      file,
      found: cause.message,
      cause,
    });
  } finally {
    await handle.close();
  }
}

/**
 * The texts of one column of a Parquet file, a page at a time: memory is that of the footer, one page and the
 * column's dictionary. hyparquet decodes; what it takes on trust (sizes, counts, the encoding of strings, checksums)
 * is looked at here.
 */
import { isUtf8 } from 'node:buffer';
import { type FileHandle, open } from 'node:fs/promises';
import {
  type ColumnMetaData,
  type FileMetaData,
  parquetMetadataAsync,
  parquetSchema,
  type SchemaTree,
} from 'hyparquet';
import { parquetHeader } from 'hyparquet/src/column.js';
import { DataError } from '../errors.js';
import { systemFailure } from '../formats/system-failure.js';
import { fieldPath } from './field.js';
import { firstBadBytes, type Line, MAX_DOCUMENT_BYTES } from './lines.js';
import {
  checkPage,
  dictionaryOf,
  type PageCodec,
  type PageHeader,
  rowsOf,
  stringsOf,
} from './parquet-page.js';

/** Footers of the largest known files have some 10 MB. */
const MAX_FOOTER = 2 ** 28;
/** Statistics within a page header may hold a whole text. */
const HEADER_PIECE = 2 ** 16;

/** One column in one row group. */
interface Chunk {
  column: ColumnMetaData;
  start: number;
  end: number;
  /** Rows of the file before this row group. */
  before: number;
  rows: number;
}

/**
 * The rows of `field`, some at a time, row n as line n; rows up to `after` may be left out where that saves
 * reading them. `read` is told of each row group's share of the file's bytes. A text that is null or not UTF-8 is given as a fault, and so are the rows of a page that is damaged.
 *
 * @throws DataError where the file is no Parquet file, or has no column of strings at `field`; as
 * {@link systemFailure} where it cannot be read.
 */
export async function* readParquetTexts(
  file: string,
  field: string,
  after = 0,
  read: (bytes: number) => void = () => {},
): AsyncGenerator<Line[]> {
  let handle: FileHandle;
  try {
    handle = await open(file);
  } catch (error) {
    throw systemFailure(error, file, 'read');
  }
  try {
    const reader = new ColumnReader(file, handle, field);
    const chunks = await reader.open();
    const rows = chunks.reduce((sum, chunk) => sum + chunk.rows, 0);
    const { size } = await handle.stat();
    for (const chunk of chunks) {
      if (chunk.before + chunk.rows > after) yield* reader.rows(chunk);
      read((size * chunk.rows) / rows);
    }
  } finally {
    await handle.close();
  }
}

class ColumnReader {
  /** Names from the root to the column. */
  #path: string[] = [];
  /** Fields on that path that may be null. */
  #optional = 0;

  constructor(
    readonly file: string,
    readonly handle: FileHandle,
    readonly field: string,
  ) {}

  /** Reads the footer. */
  async open(): Promise<Chunk[]> {
    const size = await this.#size();
    let metadata: FileMetaData;
    try {
      metadata = await parquetMetadataAsync(
        {
          byteLength: size,
          slice: async (start, end = size) => {
            if (end - start > MAX_FOOTER) throw new Error(`a footer of ${end - start} bytes`);
            const bytes = await this.#read(start, end - start);
            return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
          },
        },
        { geoparquet: false },
      );
      this.#findColumn(parquetSchema(metadata));
      return this.#chunks(metadata, size);
    } catch (cause) {
      if (cause instanceof DataError || !(cause instanceof Error)) throw cause;
      throw new DataError('The file is no Parquet file that can be read.', {
        file: this.file,
        found: cause.message,
        cause,
      });
    }
  }

  async #size(): Promise<number> {
    try {
      return (await this.handle.stat()).size;
    } catch (error) {
      throw systemFailure(error, this.file, 'read');
    }
  }

  /** The column of `field`, a literal name before a path of names. */
  #findColumn(root: SchemaTree): void {
    const literal = root.children.some(({ element }) => element.name === this.field);
    const path = [root];
    for (const name of literal ? [this.field] : fieldPath(this.field)) {
      const child = path.at(-1)!.children.find(({ element }) => element.name === name);
      if (child === undefined) {
        const names = path.at(-1)!.children.map(({ element }) => element.name);
        throw new DataError(`The column "${this.field}" is missing.`, {
          file: this.file,
          expected: `a column of strings "${this.field}"`,
          found: `columns ${names.slice(0, 20).join(', ')}`,
          hint: 'textField of the source names the column',
        });
      }
      path.push(child);
    }
    const { element, children } = path.at(-1)!;
    if (children.length > 0 || element.type !== 'BYTE_ARRAY') {
      throw new DataError(`The column "${this.field}" is no string.`, {
        file: this.file,
        expected: 'a column of strings',
        found:
          children.length > 0
            ? `fields ${children.map((c) => c.element.name).join(', ')}`
            : `${element.type}`,
        hint: 'textField of the source names the column',
      });
    }
    if (path.slice(1).some((node) => node.element.repetition_type === 'REPEATED')) {
      throw new DataError(`The column "${this.field}" lies in a list.`, {
        file: this.file,
        expected: 'one string a row',
        hint: 'convert the file to JSON lines, where textField reaches into lists: messages.0.content',
      });
    }
    this.#path = path.slice(1).map((node) => node.element.name);
    this.#optional = path.slice(1).filter((node) => node.element.repetition_type !== 'REQUIRED').length;
  }

  /** The column's parts in every row group, with sizes that can be true. */
  #chunks(metadata: FileMetaData, size: number): Chunk[] {
    const path = this.#path.join('\0');
    let before = 0;
    const groups = metadata.row_groups.filter((group) => Number(group.num_rows) !== 0);
    return groups.map((group, i) => {
      const found = group.columns.find((one) => one.meta_data?.path_in_schema.join('\0') === path);
      const column = found?.meta_data;
      if (found === undefined || column === undefined || found.file_path || found.crypto_metadata) {
        throw new Error(`row group ${i} has no such column in this file, or an encrypted one`);
      }
      const rows = Number(group.num_rows);
      const dictionary = Number(column.dictionary_page_offset ?? 0);
      const data = Number(column.data_page_offset);
      // Some writers leave the offset of the dictionary at 0 where there is none.
      const start = dictionary > 0 ? Math.min(dictionary, data) : data;
      const end = start + Number(column.total_compressed_size);
      if (!(start >= 4 && end >= start && end <= size && rows >= 0 && Number(column.num_values) === rows)) {
        throw new Error(
          `row group ${i} lies outside of the file, or has ${column.num_values} values in ${rows} rows`,
        );
      }
      const chunk = { column, start, end, before, rows };
      before += rows;
      return chunk;
    });
  }

  /** The rows of one row group, a page at a time. */
  async *rows({ column, start, end, before, rows }: Chunk): AsyncGenerator<Line[]> {
    const codec: PageCodec = { codec: column.codec, defined: this.#optional };
    let dictionary: Uint8Array[] = [];
    let at = start;
    let done = 0;
    while (done < rows) {
      const first = before + done + 1;
      let count = rows - done;
      let lines: Line[] = [];
      try {
        const { header, length } = await this.#header(at, end);
        at += length;
        const size = header.compressed_page_size;
        if (!(size >= 0 && size <= end - at)) throw new Error('a page beyond its row group');
        const values = rowsOf(header);
        if (values !== null) {
          if (!(values > 0 && values <= count))
            throw new Error(`a page of ${values} values for ${count} rows`);
          // A damaged data page is passed over: its header tells how many rows it has.
          count = values;
        }
        const bytes = await this.#read(at, size);
        at += size;
        checkPage(header, bytes);
        if (header.type === 'DICTIONARY_PAGE') dictionary = await dictionaryOf(header, bytes, codec);
        if (values === null) continue;
        lines = this.#lines(await stringsOf(header, bytes, codec, dictionary), first);
      } catch (cause) {
        if (cause instanceof DataError || !(cause instanceof Error) || 'syscall' in cause) {
          throw systemFailure(cause, this.file, 'read');
        }
        lines = [{ text: '', number: first, fault: this.#badRows(first, count, cause), lines: count }];
      }
      done += count;
      yield lines;
    }
  }

  /** The page header at `at`, and its length. */
  async #header(at: number, end: number): Promise<{ header: PageHeader; length: number }> {
    for (let piece = HEADER_PIECE; ; piece *= 16) {
      const some = Math.min(piece, end - at);
      if (some <= 0) throw new Error('the row group has fewer values than rows');
      const bytes = await this.#read(at, some);
      const reader = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length), offset: 0 };
      try {
        return { header: parquetHeader(reader), length: reader.offset };
      } catch (error) {
        // It may only be longer than what was read of it.
        if (some === end - at || piece >= MAX_DOCUMENT_BYTES) throw error;
      }
    }
  }

  #lines(texts: readonly (Uint8Array | null)[], first: number): Line[] {
    return texts.map((text, i) => {
      if (text !== null) return this.#line(text, first + i);
      return { text: '', number: first + i, fault: this.#badRow(first + i, 'The text is null.') };
    });
  }

  #line(bytes: Uint8Array, number: number): Line {
    if (bytes.length > MAX_DOCUMENT_BYTES) {
      return {
        text: '',
        number,
        fault: this.#badRow(number, 'A text is too long.', `${bytes.length} bytes`),
      };
    }
    if (isUtf8(bytes)) {
      return { text: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'), number };
    }
    const { at, shown } = firstBadBytes(bytes);
    return {
      text: '',
      number,
      fault: this.#badRow(number, 'A text is not UTF-8.', `bytes ${shown} at ${at}`),
    };
  }

  #badRow(row: number, message: string, found?: string): DataError {
    return new DataError(message, {
      file: this.file,
      key: `row ${row}`,
      ...(found !== undefined && { found }),
    });
  }

  #badRows(first: number, count: number, cause: Error): DataError {
    return new DataError('A page of the file is damaged.', {
      file: this.file,
      key: `rows ${first} to ${first + count - 1}`,
      found: cause.message,
      cause,
    });
  }

  async #read(start: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    const { bytesRead } = await this.handle.read(buffer, 0, length, start);
    if (bytesRead < length) throw new Error('the file ends too early');
    return buffer;
  }
}

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readParquetTexts } from '../../src/corpus/parquet.js';
import { readDocuments } from '../../src/corpus/readers.js';
import { DataError } from '../../src/errors.js';
import { temporaryFolder } from './stores.js';

const golden = (name: string) => new URL(`../golden/parquet/${name}`, import.meta.url).pathname;
const { texts, some } = JSON.parse(readFileSync(golden('expected.json'), 'utf8')) as {
  texts: string[];
  some: (string | null)[];
};

interface Row {
  text: string | null;
  number: number;
}

/** The rows of a column; the text of a broken one is null. */
async function rows(file: string, field = 'text', after = 0): Promise<Row[]> {
  const found: Row[] = [];
  for await (const lines of readParquetTexts(file, field, after)) {
    for (const { text, number, fault } of lines)
      found.push({ text: fault === undefined ? text : null, number });
  }
  return found;
}

const numbered = (values: (string | null)[]): Row[] => values.map((text, i) => ({ text, number: i + 1 }));

/** A copy with some bytes changed. */
function changed(name: string, change: (bytes: Buffer) => Buffer | undefined): string {
  const bytes = readFileSync(golden(name));
  const file = join(temporaryFolder(), name);
  writeFileSync(file, change(bytes) ?? bytes);
  return file;
}

describe("other programs' files", () => {
  test.each<[string, (string | null)[]]>([
    ['snappy', some],
    ['zstd-v2', some],
    ['gzip-checksum', some],
    ['brotli-index', some],
    ['lz4-delta-length', texts],
    ['none-delta', texts],
    ['zstd-dictionary', Array.from({ length: 200 }, (_, i) => texts[i % 5]!)],
    ['no-rows', []],
  ])('%s: every row, with its number; a null is a fault', async (name, expected) => {
    expect(await rows(golden(`${name}.parquet`))).toEqual(numbered(expected));
  });

  test('come in pieces of a page', async () => {
    const sizes: number[] = [];
    for await (const lines of readParquetTexts(golden('zstd-v2.parquet'), 'text')) sizes.push(lines.length);
    expect(sizes.length).toBeGreaterThan(8);
    expect(Math.max(...sizes)).toBeLessThan(64);
  });

  test('a field by its path, or by a name with a dot', async () => {
    const nested = some.map((value, i) => (i % 20 === 3 ? null : value));
    expect(await rows(golden('nested.parquet'), 'meta.body')).toEqual(numbered(nested));
    expect(await rows(golden('nested.parquet'), 'a.b')).toEqual(numbered(texts));
  });

  test('row groups before a row are not read', async () => {
    const found = await rows(golden('snappy.parquet'), 'text', 130);
    expect(found).toEqual(numbered(some).slice(128));
  });

  test.each<[string, string, string]>([
    ['snappy', 'body', 'missing'],
    ['snappy', 'id', 'no string'],
    ['nested', 'meta', 'no string'],
    ['nested', 'meta.none', 'missing'],
    ['nested', 'lists.list.element', 'lies in a list'],
  ])('%s has no texts at %s', async (name, field, message) => {
    await expect(rows(golden(`${name}.parquet`), field)).rejects.toThrow(message);
  });
});

describe('as a source', () => {
  const read = async (onBadDocument: 'stop' | 'skip', name: string) => {
    const skipped: [string, number][] = [];
    const found: string[] = [];
    const source = { path: golden(name), format: 'parquet', textField: 'text', onBadDocument } as const;
    const documents = readDocuments(source, 'document', {
      skipped: ({ key = '', message }, count) => skipped.push([`${key}: ${message}`, count]),
    });
    for await (const { text, line } of documents) {
      if (found.push(text) === 1) expect(line).toBe(1);
    }
    return { skipped, found };
  };

  test('labels are the strings of another column, row by row; null where it has none', async () => {
    const source = { path: golden('snappy.parquet'), format: 'parquet', textField: 'text' } as const;
    const documents = readDocuments({ ...source, onBadDocument: 'skip' }, 'document', {
      labelField: 'text',
      skipped: () => {},
    });
    let count = 0;
    for await (const { text, label } of documents) {
      expect(label?.replaceAll('\r\n', '\n')).toBe(text);
      count++;
    }
    expect(count).toBeGreaterThan(5);
  });

  test('nulls stop, or are counted where asked; line ends are "\\n"', async () => {
    await expect(read('stop', 'snappy.parquet')).rejects.toMatchObject({ key: 'row 6', exitStatus: 2 });
    const { skipped, found } = await read('skip', 'snappy.parquet');
    expect(found).toEqual(some.flatMap((text) => text?.replaceAll('\r\n', '\n') ?? []));
    expect(skipped).toHaveLength(some.filter((text) => text === null).length);
    expect(skipped[0]).toEqual(['row 6: The text is null.', 1]);
  });

  test('bytes that are not UTF-8 are a fault of their row', async () => {
    const { skipped, found } = await read('skip', 'binary.parquet');
    expect(found).toEqual(['fine', 'also fine']);
    expect(skipped).toEqual([['row 2: A text is not UTF-8.', 1]]);
  });

  test('rows are lines of WikiText, as the Hub has it', async () => {
    const source = {
      path: golden('snappy.parquet'),
      format: 'wikitext',
      textField: 'text',
      onBadDocument: 'skip',
    } as const;
    const found: string[] = [];
    for await (const { text } of readDocuments(source, 'row', { skipped: () => {} })) found.push(text);
    expect(found.slice(0, 2)).toEqual([texts[0], texts[1]]);
  });
});

describe('hostile files', () => {
  test.each<[string, (bytes: Buffer) => Buffer | undefined]>([
    ['no Parquet', () => Buffer.from('PAR1 nothing of it')],
    ['an empty file', () => Buffer.alloc(0)],
    ['cut off', (bytes) => bytes.subarray(0, -100)],
    [
      'a footer longer than the file',
      (bytes) => {
        bytes.writeUInt32LE(0x7fffffff, bytes.length - 8);
        return undefined;
      },
    ],
    [
      'a footer of nothing',
      (bytes) => {
        bytes.writeUInt32LE(0, bytes.length - 8);
        return undefined;
      },
    ],
  ])('%s cannot be opened', async (_, change) => {
    await expect(rows(changed('snappy.parquet', change))).rejects.toBeInstanceOf(DataError);
  });

  test('a damaged page is told with its rows, and the others are read', async () => {
    const file = changed('gzip-checksum.parquet', (bytes) => {
      // The last page is one of the texts.
      bytes[bytes.lastIndexOf(Buffer.from([0x1f, 0x8b])) + 30]! ^= 1;
      return undefined;
    });
    const all: { number: number; lines?: number; fault?: DataError }[] = [];
    for await (const lines of readParquetTexts(file, 'text')) all.push(...lines);
    const bad = all.find(({ lines }) => lines !== undefined)!;
    expect(bad.fault).toMatchObject({
      key: `rows ${bad.number} to 200`,
      found: expect.stringContaining('checksum'),
    });
    expect(bad.lines! + all.length - 1).toBe(200);
    expect(bad.number + bad.lines! - 1).toBe(200);
  });

  test('whatever byte is changed, reading ends, and in errors of ours', async () => {
    const names = ['snappy', 'zstd-v2', 'none-delta', 'lz4-delta-length', 'brotli-index', 'zstd-dictionary'];
    const position = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...names),
        position,
        fc.integer({ min: 1, max: 255 }),
        async (name, at, by) => {
          const file = changed(`${name}.parquet`, (bytes) => {
            bytes[Math.floor(at * bytes.length)]! ^= by;
            return undefined;
          });
          try {
            // Never more rows than there may be, whatever counts say.
            expect((await rows(file)).length).toBeLessThan(100_000);
          } catch (error) {
            expect(error).toBeInstanceOf(DataError);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

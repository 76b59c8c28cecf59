import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TextDocument } from '../../src/corpus/document.js';
import { readLines } from '../../src/corpus/lines.js';
import { readDocuments, type Unit } from '../../src/corpus/readers.js';
import { isArticleHeading } from '../../src/corpus/wikitext.js';
import { DataError } from '../../src/errors.js';
import type { Source } from '../../src/recipe/schema.js';
import { temporaryFolder } from './stores.js';

function file(name: string, content: string | Uint8Array): string {
  const path = join(temporaryFolder(), name);
  writeFileSync(path, content);
  return path;
}

async function read(
  path: string | string[],
  format: Source['format'],
  unit: Unit = 'document',
  textField = 'text',
): Promise<TextDocument[]> {
  const documents: TextDocument[] = [];
  for await (const document of readDocuments({ path, format, textField, onBadDocument: 'stop' }, unit))
    documents.push(document);
  return documents;
}

const texts = (documents: TextDocument[]) => documents.map(({ text }) => text);

async function refused(
  path: string,
  format: Source['format'] = 'text',
  unit: Unit = 'row',
): Promise<DataError> {
  const error = await read(path, format, unit).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(DataError);
  expect(error).toMatchObject({ file: path, exitStatus: 2 });
  return error as DataError;
}

/** What is wrong with the lines of a file. */
async function faults(path: string, limit: number): Promise<DataError[]> {
  const found: DataError[] = [];
  for await (const lines of readLines(path, limit)) found.push(...lines.flatMap(({ fault }) => fault ?? []));
  return found;
}

describe('plain text', () => {
  test('rows are lines that are not blank, as they stand, with their numbers', async () => {
    const path = file('a.txt', ' one \r\n\r\n\t\ntwo\n\nthree');
    expect(await read(path, 'text', 'row')).toEqual([
      { text: ' one ', file: path, index: 0, line: 1 },
      { text: 'two', file: path, index: 0, line: 4 },
      { text: 'three', file: path, index: 0, line: 6 },
    ]);
  });

  test('a document is a file, without blank lines around it', async () => {
    const paths = [
      file('a.txt', '\n\n one\r\n\r\ntwo\n\n'),
      file('b.txt', ' \n'),
      file('c.txt.gz', gzipSync('last')),
    ];
    expect(await read(paths, 'text')).toEqual([
      { text: ' one\n\ntwo', file: paths[0], index: 0, line: 3 },
      { text: 'last', file: paths[2], index: 2, line: 1 },
    ]);
  });

  test('a byte order mark is dropped at the beginning and kept elsewhere', async () => {
    expect(texts(await read(file('a.txt', '\ufeffone\n\ufefftwo'), 'text', 'row'))).toEqual([
      'one',
      '\ufefftwo',
    ]);
  });

  test('only line feeds end lines', async () => {
    const text = 'a\u2028b\u0085c\rd\x0be\x0cf';
    expect(texts(await read(file('a.txt', `${text}\n`), 'text', 'row'))).toEqual([text]);
  });

  test('lines are found wherever the chunks of the file end, through gzip too', async () => {
    const line = fc
      .string({ unit: 'grapheme', maxLength: 30 })
      .map((s) => s.replace(/[\r\n\0]/g, '') + '\u{1f600}é'.repeat(900));
    await fc.assert(
      fc.asyncProperty(fc.array(line, { minLength: 1, maxLength: 200 }), fc.boolean(), async (lines, zip) => {
        const bytes = Buffer.from(lines.join('\n'));
        const path = file(zip ? 'a.gz' : 'a', zip ? gzipSync(bytes, { level: 1 }) : bytes);
        const found: string[] = [];
        for await (const some of readLines(path)) {
          for (const { text, number } of some) expect(found.push(text)).toBe(number);
        }
        expect(found).toEqual(lines.map((l, i) => (i === 0 ? l.replace(/^\ufeff/, '') : l)));
      }),
      { numRuns: 8 },
    );
  });
});

describe('wikitext', () => {
  test.each<[string, boolean]>([
    [' = Valkyria Chronicles III = ', true],
    ['= Title =', true],
    [' = M @-@ 108 ( Michigan highway ) = ', true],
    [' = A = B = ', true],
    [' = = Section = = ', false],
    [' = = = Deeper = = = ', false],
    [' = Title', false],
    [' = ', false],
    ['= =', false],
    ['x = y = z', false],
    ['==Title==', false],
    [' =Title= ', false],
    ['', false],
  ])('%j begins an article: %s', (line, expected) => expect(isArticleHeading(line)).toBe(expected));

  test('articles with their sections; what precedes the first is one of its own', async () => {
    const text = ' \n before\n\n = One = \n \n a <unk> b \n = = Part = = \n c \n \n = Two = \n d\n';
    const path = file('w.txt', text);
    expect(await read(path, 'wikitext')).toEqual([
      { text: ' before', file: path, index: 0, line: 2 },
      { text: ' = One = \n \n a <unk> b \n = = Part = = \n c ', file: path, index: 0, line: 4 },
      { text: ' = Two = \n d', file: path, index: 0, line: 10 },
    ]);
    expect(texts(await read(path, 'wikitext', 'row')).length).toBe(7);
  });

  test('the shipped WikiText-2 has its known articles', async () => {
    const path = new URL('../../data/wikitext-2/valid.txt.gz', import.meta.url).pathname;
    const articles = await read(path, 'wikitext');
    expect(articles.length).toBe(60);
    expect(articles.every(({ text }) => isArticleHeading(text.split('\n')[0]!))).toBe(true);
  });
});

describe('jsonl', () => {
  test('a field of each line, whatever the unit', async () => {
    const lines = [
      '{"text": "one\\r\\ntwo", "x": 1}',
      '',
      '{"text":" "}',
      '{"text": "\\u0000\\ud83d\\ude00"}',
    ];
    const path = file('a.jsonl', `${lines.join('\r\n')}\n`);
    for (const unit of ['row', 'document'] as const) {
      expect(await read(path, 'jsonl', unit)).toEqual([
        { text: 'one\ntwo', file: path, index: 0, line: 1 },
        { text: '\0\u{1f600}', file: path, index: 0, line: 4 },
      ]);
    }
    expect(texts(await read(file('b', '{"body": "x", "text": 1}'), 'jsonl', 'row', 'body'))).toEqual(['x']);
  });

  test.each<[string, string]>([
    ['{"text": "cut', 'not JSON'],
    ['{"text": "a"} {"text": "b"}', 'not JSON'],
    ['["text"]', 'not a JSON object'],
    ['null', 'not a JSON object'],
    ['"text"', 'not a JSON object'],
    ['{"txt": "a"}', 'missing'],
    ['{"text": null}', 'no string'],
    ['{"text": 7}', 'no string'],
    ['{"text": "\\ud83d"}', 'surrogate'],
  ])('a broken line %s is refused with its number', async (line, message) => {
    const error = await refused(file('a.jsonl', `{"text": "fine"}\n\n${line}\n{"text": "fine"}\n`), 'jsonl');
    expect(error.key).toBe('line 3');
    expect(error.message).toContain(message);
  });

  test('a field that only the prototype has is missing', async () => {
    const path = file('a.jsonl', '{"text": "a"}');
    await expect(read(path, 'jsonl', 'row', 'constructor')).rejects.toThrow(DataError);
  });
});

describe('hostile files', () => {
  test.each<[string, Buffer, string]>([
    ['Latin-1', Buffer.from('fine\nfine\ncaf\xe9 noir\n', 'latin1'), 'line 3, byte 13'],
    ['a lone continuation', Buffer.from([0x61, 0x80]), 'line 1, byte 1'],
    ['an overlong slash', Buffer.from([0x0a, 0xc0, 0xaf]), 'line 2, byte 1'],
    ['a surrogate', Buffer.from([0xed, 0xa0, 0x80]), 'line 1, byte 0'],
    ['above U+10FFFF', Buffer.from([0x41, 0xf4, 0x90, 0x80, 0x80]), 'line 1, byte 1'],
    ['a character cut by a newline', Buffer.from([0xe2, 0x82, 0x0a, 0x41]), 'line 1, byte 0'],
    ['UTF-16 with its mark', Buffer.from('\ufeffab', 'utf16le'), 'line 1, byte 0'],
  ])('%s is refused with line and byte', async (_, bytes, key) => {
    const error = await refused(file('a.txt', bytes));
    expect(error.message).toBe('The file is not UTF-8.');
    expect(error.key).toBe(key);
  });

  test('a character cut off at the end', async () => {
    const error = await refused(file('a.txt', Buffer.from([0x61, 0x0a, 0xf0, 0x9f, 0x98])));
    expect(error).toMatchObject({
      key: 'line 2, byte 2',
      found: 'a character cut off at the end: bytes f0 9f 98',
    });
  });

  test('the place is right deep inside a large file', async () => {
    const bytes = Buffer.from('é'.repeat(499) + '\n'.repeat(2))
      .toString('latin1')
      .repeat(1000);
    const buffer = Buffer.from(bytes, 'latin1');
    buffer[777_777 - (777_777 % 1000)] = 0xff;
    const error = await refused(file('a.txt', buffer));
    expect(error.key).toBe('line 1555, byte 777000');
    expect(error.found).toBe('bytes ff a9 c3 a9');
  });

  test('NUL bytes are refused: UTF-16 without a mark passes for UTF-8', async () => {
    expect((await refused(file('a.txt', Buffer.from('a\nbc', 'utf16le')))).key).toBe('line 1, byte 1');
    expect((await refused(file('a.txt', Buffer.from('abc\nd\0e')))).key).toBe('line 2, byte 5');
  });

  test('a line without end is refused before it fills the memory', async () => {
    const path = file('a.txt', `first\n${'x'.repeat(3_000_000)}`);
    expect(await faults(path, 1_000_000)).toMatchObject([{ file: path, key: 'line 2' }]);
    expect(await faults(path, 4_000_000)).toEqual([]);
    const inside = file('b.txt', `${'x'.repeat(300)}\n`);
    expect(await faults(inside, 200)).toMatchObject([{ key: 'line 1' }]);
  });

  test('a bomb of gzip ends at the same limit', async () => {
    const path = file('a.gz', gzipSync(Buffer.alloc(20_000_000, 'x'), { level: 9 }));
    expect(await faults(path, 1_000_000)).toMatchObject([{ message: expect.stringContaining('too long') }]);
  });

  test('gzip that is cut, damaged or none', async () => {
    const whole = gzipSync('hello hello hello\n'.repeat(100));
    const damaged = Buffer.from(whole);
    damaged[20]! ^= 0xff;
    for (const bytes of [whole.subarray(0, -12), damaged, Buffer.from('plain text')]) {
      expect((await refused(file('a.gz', bytes))).message).toContain('gzip');
    }
    // Compressed bytes under another name are no text.
    await refused(file('a.txt', whole));
  });

  test('a missing file is named; a folder is no file', async () => {
    const folder = temporaryFolder();
    for (const name of ['none.txt', 'none.txt.gz']) await refused(join(folder, name));
    await expect(read(folder, 'text')).rejects.toMatchObject({ exitStatus: 2, file: folder });
  });

  test('an empty file has no documents', async () => {
    for (const content of ['', '\n', ' \r\n\t\n', '\ufeff']) {
      for (const format of ['text', 'wikitext', 'jsonl'] as const) {
        expect(await read(file('a', content), format)).toEqual([]);
      }
    }
  });

  test('whoever stops reading early closes the file', async () => {
    const path = file('a.txt.gz', gzipSync('line\n'.repeat(1_000_000)));
    for await (const some of readLines(path)) {
      expect(some[0]!.text).toBe('line');
      break;
    }
  });
});

test('labels: a field of the line, as text, or the name of the file; null where there is none', async () => {
  const lines = ['{"text":"a","meta":{"kind":"x"}}', '{"text":"b","meta":{"kind":7}}', '{"text":"c"}'];
  const path = file('web.v1.jsonl', lines.join('\n'));
  const labels = async (labelField: string) => {
    const found = [];
    const source = { path, format: 'jsonl', textField: 'text', onBadDocument: 'stop' } as const;
    for await (const { label } of readDocuments(source, 'document', { labelField })) found.push(label);
    return found;
  };
  expect(await labels('meta.kind')).toEqual(['x', '7', null]);
  expect(await labels('@file')).toEqual(['web', 'web', 'web']);
  await expect(labels('meta')).rejects.toMatchObject({ key: 'line 1', found: 'an object' });
});

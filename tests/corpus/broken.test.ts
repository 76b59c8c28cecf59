import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { countSkipped, type Place, type SkippedDocuments } from '../../src/corpus/document.js';
import { readDocuments, type Unit } from '../../src/corpus/readers.js';
import type { Source } from '../../src/recipe/schema.js';
import { temporaryFolder } from './stores.js';

interface Found {
  texts: string[];
  places: Place[];
  skipped: SkippedDocuments;
  /** What was counted when each document came. */
  counts: number[];
}

/** Everything that a source gives where broken documents are skipped. */
async function read(
  source: Pick<Source, 'path'> & Partial<Source>,
  unit: Unit = 'document',
  after?: Place,
): Promise<Found> {
  const found: Found = { texts: [], places: [], skipped: { documents: 0, first: [] }, counts: [] };
  const whole = { format: 'auto', textField: 'text', onBadDocument: 'skip', ...source } as const;
  const documents = readDocuments(whole, unit, {
    ...(after && { after }),
    skipped: (fault, count) => {
      found.skipped = countSkipped(found.skipped, fault, count);
    },
  });
  for await (const { text, index, line } of documents) {
    found.texts.push(text);
    found.places.push({ index, line });
    found.counts.push(found.skipped.documents);
  }
  return found;
}

function write(name: string, content: string | Uint8Array, folder = temporaryFolder()): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const latin1 = (text: string) => Buffer.from(text, 'latin1');
const json = (text: string) => JSON.stringify({ text });

describe('broken documents that are to be skipped', () => {
  test('JSON lines: each counted once, with its place', async () => {
    const path = write(
      'a.jsonl',
      Buffer.concat([
        latin1(`${json('one')}\nnot json\n`),
        latin1('{"text": "caf\xe9"}\n{"text": 7}\n'),
        latin1(`${json('two')}\n{"text": "a\0b"}\n{"other": 1}\n\n${json('three')}`),
      ]),
    );
    const { texts, skipped, counts } = await read({ path });
    expect(texts).toEqual(['one', 'two', 'three']);
    expect(counts).toEqual([0, 3, 5]);
    expect(skipped.first.map(({ place }) => place)).toEqual([
      'line 2',
      'line 3, byte 37',
      'line 4',
      'line 6, byte 79',
      'line 7',
    ]);
    expect(skipped.first[3]).toMatchObject({ file: path, fault: expect.stringContaining('NUL') });
  });

  test('text: a row is its line, a document the file, an article the article', async () => {
    const lines = latin1(' = One = \nfine\n = Two = \ncaf\xe9\nand on\n = Three = \nfine');
    const path = write('a.txt', lines);
    expect((await read({ path }, 'row')).texts).toHaveLength(6);
    const whole = await read({ path: [path, write('b.txt', 'b')] });
    expect(whole.texts).toEqual(['b']);
    expect(whole.skipped.first).toMatchObject([{ file: path, place: 'line 4, byte 28' }]);
    const articles = await read({ path, format: 'wikitext' });
    expect(articles.texts).toEqual([' = One = \nfine', ' = Three = \nfine']);
    expect(articles.skipped.documents).toBe(1);
  });

  test('the rest of a stream that is damaged counts as one, and is as long every time', async () => {
    const lines = Array.from({ length: 40_000 }, (_, i) => json(`text ${i} ${'x'.repeat(i % 50)}`));
    const whole = gzipSync(lines.join('\n'), { level: 1 });
    const damaged = Buffer.from(whole);
    damaged.fill(0xff, whole.length - 20_000, whole.length - 19_000);
    for (const [bytes, isCut] of [
      [damaged, false],
      [whole.subarray(0, -9_000), true],
    ] as const) {
      const path = write('a.jsonl.gz', bytes);
      const { texts, skipped } = await read({ path: [path, write('b.jsonl', json('b'))] }, 'row');
      expect(texts.length).toBeGreaterThan(20_000);
      expect(texts.at(-1)).toBe('b');
      expect(skipped.documents).toBeGreaterThan(0);
      if (isCut) {
        expect(skipped).toMatchObject({
          documents: 1,
          first: [{ place: `line ${texts.length} and what follows`, fault: expect.stringContaining('gzip') }],
        });
        const before = lines.slice(0, texts.length - 1).map((line) => JSON.parse(line).text);
        expect(texts.slice(0, -1).every((text, i) => text === before[i])).toBe(true);
      }
      // As much of it every time, however slowly it is taken.
      expect((await read({ path })).texts).toHaveLength(texts.length - 1);
    }
  });

  test('places are kept of the first ten', async () => {
    const { skipped } = await read({ path: write('a.jsonl', 'x\n'.repeat(50)) });
    expect(skipped.documents).toBe(50);
    expect(skipped.first).toHaveLength(10);
  });

  test('a file that cannot be opened stops all the same', async () => {
    const folder = temporaryFolder();
    const other = write('b.jsonl', json('b'), folder);
    for (const path of [
      join(folder, 'none.jsonl'),
      write('c.jsonl.gz', 'no gzip'),
      write('d.jsonl.zst', 'no zstd!'),
      write('e.parquet', 'none'),
    ]) {
      await expect(read({ path: [other, path] })).rejects.toMatchObject({ exitStatus: 2, file: path });
    }
    await expect(read({ path: write('a.csv', 'a,b') })).rejects.toMatchObject({
      exitStatus: 2,
      message: expect.stringContaining('does not tell its format'),
    });
  });

  test('nobody who counts: they stop', async () => {
    const source = {
      path: write('a.jsonl', 'x'),
      format: 'jsonl',
      textField: 'text',
      onBadDocument: 'skip',
    } as const;
    await expect(readDocuments(source, 'row').next()).rejects.toThrow('not JSON');
  });
});

test('a reading goes on behind any document, with the faults that follow it and no others', async () => {
  const folder = temporaryFolder();
  const paths = [
    write('a.jsonl', `bad\n${json('one')}\nbad\n\n${json('two')}\nbad`, folder),
    write('b.txt', latin1(' = A = \nfine\n = B = \n\xe9\n = C = \nmore\n'), folder),
    write('c.jsonl.gz', gzipSync(`${json('three')}\nbad\n${json('four')}`), folder),
  ];
  for (const format of ['auto', 'wikitext'] as const) {
    const source = format === 'auto' ? { path: paths } : { path: paths[1]!, format };
    const all = await read(source);
    expect(all.texts.length).toBeGreaterThanOrEqual(2);
    for (const [i, place] of all.places.entries()) {
      const rest = await read(source, 'document', place);
      expect(rest.texts).toEqual(all.texts.slice(i + 1));
      expect(rest.places).toEqual(all.places.slice(i + 1));
      expect(all.counts[i]! + rest.skipped.documents).toBe(all.skipped.documents);
    }
  }
});

describe('sources of many files', () => {
  test('a folder: everything below it byte by byte, hidden files left out, links followed', async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'b/.git'), { recursive: true });
    write('b/z.jsonl', json('b/z'), folder);
    write('b/.git/x.jsonl', json('hidden'), folder);
    write('.hidden.jsonl', json('hidden'), folder);
    write('Z.txt', 'Z', folder);
    write('a.md', 'a', folder);
    write('é.txt', 'é', folder);
    symlinkSync(write('elsewhere.txt', 'linked'), join(folder, 'l.txt'));
    expect((await read({ path: folder })).texts).toEqual(['Z', 'a', 'b/z', 'linked', 'é']);
    symlinkSync(folder, join(folder, 'b/circle'));
    await expect(read({ path: folder })).rejects.toThrow('circle');
  });

  test('a pattern, a file whose name looks like one, and nothing', async () => {
    const folder = temporaryFolder();
    for (const name of ['a-1.txt', 'a-2.txt', 'b-1.txt', 'a-1.jsonl', '[x].txt'])
      write(name, json(name), folder);
    const texts = async (pattern: string) =>
      (await read({ path: join(folder, pattern), format: 'jsonl' })).texts;
    expect(await texts('a-?.txt')).toEqual(['a-1.txt', 'a-2.txt']);
    expect(await texts('{b,a}-1.*')).toEqual(['a-1.jsonl', 'a-1.txt', 'b-1.txt']);
    expect(await texts('**/[!a[]*')).toEqual(['b-1.txt']);
    expect(await texts('[x].txt')).toEqual(['[x].txt']);
    await expect(texts('c*')).rejects.toMatchObject({
      exitStatus: 2,
      expected: 'a file that matches the pattern',
    });
  });

  test('a nested field, an index, and a name with a dot before a path', async () => {
    const record = { a: { b: 'path' }, messages: [{ content: 'first' }, { content: 'second' }], text: null };
    const path = write('a.jsonl', JSON.stringify(record));
    const text = async (textField: string, file = path) =>
      (await read({ path: file, textField, onBadDocument: 'stop' })).texts[0];
    expect(await text('a.b')).toBe('path');
    expect(await text('messages.1.content')).toBe('second');
    expect(await text('a.b', write('b.jsonl', JSON.stringify({ ...record, 'a.b': 'literal' })))).toBe(
      'literal',
    );
    await expect(text('messages.2.content')).rejects.toThrow('missing');
    await expect(text('messages.length')).rejects.toThrow('missing');
    await expect(text('a.c')).rejects.toMatchObject({ found: 'fields b' });
    await expect(text('text')).rejects.toMatchObject({ found: 'null' });
  });
});

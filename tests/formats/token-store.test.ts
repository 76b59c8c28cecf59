import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DataError } from '../../src/errors.js';
import { sha256 } from '../../src/formats/hash.js';
import { TokenStore } from '../../src/formats/token-store.js';
import { TokenWriter } from '../../src/formats/token-writer.js';

const golden = new URL('../golden/corpus/', import.meta.url).pathname;
let folder: string;
let prefix: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'disco-store-'));
  prefix = join(folder, 'train');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function write(documents: number[][], vocabularySize = 4096, chunkBytes?: number) {
  const writer = new TokenWriter(prefix, vocabularySize, chunkBytes === undefined ? {} : { chunkBytes });
  for (const document of documents) writer.add(document);
  return writer.finish();
}

function readAll(store: TokenStore): number[][] {
  return Array.from({ length: store.documents }, (_, d) => [...store.document(d)]);
}

/** The format's description read with a DataView and nothing of ours. */
function independentReader(): { code: number; documents: number[][] } {
  const index = new DataView(new Uint8Array(readFileSync(`${prefix}.idx`)).buffer);
  const tokens = new DataView(new Uint8Array(readFileSync(`${prefix}.bin`)).buffer);
  const magic = String.fromCharCode(...new Uint8Array(index.buffer, 0, 9));
  expect(magic).toBe('MMIDIDX\0\0');
  expect(index.getBigUint64(9, true)).toBe(1n);
  const code = index.getUint8(17);
  const sequences = Number(index.getBigUint64(18, true));
  const boundaries = Number(index.getBigUint64(26, true));
  expect(index.byteLength).toBe(34 + 12 * sequences + 8 * boundaries);
  const all: number[][] = [];
  for (let s = 0; s < sequences; s++) {
    const size = index.getInt32(34 + 4 * s, true);
    const pointer = Number(index.getBigInt64(34 + 4 * sequences + 8 * s, true));
    const id = (i: number) =>
      code === 8 ? tokens.getUint16(pointer + 2 * i, true) : tokens.getInt32(pointer + 4 * i, true);
    all.push(Array.from({ length: size }, (_, i) => id(i)));
  }
  const boundary = (d: number) => Number(index.getBigInt64(34 + 12 * sequences + 8 * d, true));
  const documents = Array.from({ length: boundaries - 1 }, (_, d) =>
    all.slice(boundary(d), boundary(d + 1)).flat(),
  );
  return { code, documents };
}

describe('writing', () => {
  test('an independent reader finds every document, for both types', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.integer({ min: 0, max: 65_534 }), { maxLength: 40 }), { maxLength: 30 }),
        fc.constantFrom(65_535, 65_536),
        fc.integer({ min: 4, max: 64 }),
        async (documents, vocabularySize, chunkBytes) => {
          await write(documents, vocabularySize, chunkBytes);
          const { code, documents: found } = independentReader();
          expect(code).toBe(vocabularySize === 65_535 ? 8 : 4);
          expect(found).toEqual(documents);
          using store = TokenStore.open(prefix);
          expect(readAll(store)).toEqual(documents);
          expect(store.tokens).toBe(documents.flat().length);
        },
      ),
      { numRuns: 30 },
    );
  });

  test('ids above 65,535 survive, and more documents than the first allocation', async () => {
    const documents = Array.from({ length: 3000 }, (_, d) => [d, 150_000 + d]);
    await write(documents, 200_000);
    using store = TokenStore.open(prefix, { vocabularySize: 200_000 });
    expect(readAll(store)).toEqual(documents);
  });

  test('names, sizes and hashes are those of the files; nothing appears before the end', async () => {
    const writer = new TokenWriter(prefix, 10);
    writer.add([1, 2, 3]);
    expect(readdirSync(folder).filter((name) => name.startsWith('train'))).toEqual([]);
    const written = await writer.finish();
    expect(written).toMatchObject({ documents: 1, tokens: 3 });
    for (const file of written.files) {
      const bytes = readFileSync(join(folder, file.name));
      expect(file).toEqual({ name: file.name, size: bytes.length, sha256: sha256(bytes) });
    }
    expect(readdirSync(folder).sort()).toEqual(['train.bin', 'train.idx']);
  });

  test('an aborted store and a refused one leave nothing', async () => {
    const aborted = new TokenWriter(prefix, 10);
    aborted.add([1]);
    aborted.abort();
    const refused = new TokenWriter(prefix, 10);
    refused.add([1]);
    const refuse = () => {
      throw new Error('no longer ours');
    };
    await expect(refused.finish(refuse)).rejects.toThrow('no longer ours');
    expect(readdirSync(folder)).toEqual([]);
    expect(() => new TokenWriter(prefix, 10).add([65_536])).toThrow(RangeError);
  });
});

describe('a writer that goes on where another was killed', () => {
  const documents = [[1, 2, 3], [4], [], [5, 6], [7, 8, 9, 10]];
  const parts = () => join(folder, 'partial', 'train');
  const begin = () => new TokenWriter(prefix, 4096, { parts: parts(), chunkBytes: 8 });

  test('ends with the bytes of one that was not', async () => {
    await write(documents);
    const undisturbed = ['bin', 'idx'].map((name) => readFileSync(`${prefix}.${name}`));
    const killed = begin();
    for (const document of documents.slice(0, 2)) killed.add(document);
    const saved = await killed.save();
    // Behind what was saved, and never cut off by a process that is gone.
    for (let i = 0; i < 20; i++) killed.add([99, 98, 97]);
    const resumed = (await TokenWriter.resume(prefix, 4096, parts(), saved))!;
    expect([resumed.documents, resumed.tokens]).toEqual([2, 4]);
    for (const document of documents.slice(2)) resumed.add(document);
    const last = await resumed.save();
    const written = await resumed.finish();
    expect(['bin', 'idx'].map((name) => readFileSync(`${prefix}.${name}`))).toEqual(undisturbed);
    expect(written.files.map(({ sha256: hash }) => hash)).toEqual(undisturbed.map((bytes) => sha256(bytes)));
    // Killed again when both files had appeared.
    const again = (await TokenWriter.resume(prefix, 4096, parts(), last))!;
    expect(await again.finish()).toEqual(written);
    killed.leave();
  });

  test('refuses parts that are shorter or other than they were saved', async () => {
    const writer = begin();
    writer.add([1, 2, 3]);
    const saved = await writer.save();
    writer.leave();
    const bytes = readFileSync(`${parts()}.bin`);
    const resume = () => TokenWriter.resume(prefix, 4096, parts(), saved);
    writeFileSync(`${parts()}.bin`, bytes.subarray(0, 4));
    expect(await resume()).toBeNull();
    writeFileSync(`${parts()}.bin`, Buffer.from(bytes).fill(9, 0, 1));
    expect(await resume()).toBeNull();
    writeFileSync(`${parts()}.bin`, bytes);
    rmSync(`${parts()}.lengths`);
    expect(await resume()).toBeNull();
  });

  test('a failure leaves what can be gone on with', async () => {
    const writer = begin();
    writer.add([1, 2]);
    const saved = await writer.save();
    const refuse = () => {
      throw new Error('no longer ours');
    };
    await expect(writer.finish(refuse)).rejects.toThrow('no longer ours');
    expect(readdirSync(folder)).toEqual(['partial']);
    expect((await TokenWriter.resume(prefix, 4096, parts(), saved))?.documents).toBe(1);
  });
});

describe('reading', () => {
  test('a store written from the description, with documents of several sequences and of none', () => {
    const { documents } = JSON.parse(readFileSync(join(golden, 'megatron.json'), 'utf8'));
    using store = TokenStore.open(join(golden, 'megatron'));
    expect(readAll(store)).toEqual(documents);
  });

  test('stretches across documents, lengths, places', async () => {
    await write([[1, 2, 3], [4], [], [5, 6]]);
    using store = TokenStore.open(prefix);
    expect([...store.read(1, 4)]).toEqual([2, 3, 4, 5]);
    expect([...store.document(0, 2)]).toEqual([1, 2]);
    expect([0, 1, 2, 3].map((d) => store.length(d))).toEqual([3, 1, 0, 2]);
    expect([0, 1, 2, 3, 4, 5].map((p) => store.documentAt(p))).toEqual([0, 0, 0, 1, 3, 3]);
    expect(() => store.read(4, 3)).toThrow(RangeError);
    expect(() => store.document(4)).toThrow(RangeError);
    store.close();
    expect(() => store.read(0, 1)).toThrow('closed');
  });

  test('an id outside the vocabulary is refused where it stands', async () => {
    await write([[1, 2, 99]]);
    using store = TokenStore.open(prefix, { vocabularySize: 99 });
    expect([...store.read(0, 2)]).toEqual([1, 2]);
    const error = caught(() => store.document(0));
    expect(error).toMatchObject({ file: `${prefix}.bin`, key: 'token 2', expected: '0 to 98', found: '99' });
  });
});

function caught(action: () => unknown): DataError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(DataError);
    return error as DataError;
  }
  throw new Error('nothing was thrown');
}

describe('hostile files', () => {
  const open = () => TokenStore.open(prefix);

  test('missing files are named', async () => {
    expect(caught(open).file).toBe(`${prefix}.idx`);
    await write([[1]]);
    rmSync(`${prefix}.bin`);
    expect(caught(open).file).toBe(`${prefix}.bin`);
  });

  test('every truncation of the index is refused', async () => {
    await write([[1, 2], [3]]);
    const whole = readFileSync(`${prefix}.idx`);
    for (let size = 0; size < whole.length; size++) {
      writeFileSync(`${prefix}.idx`, whole.subarray(0, size));
      expect(caught(open).file).toBe(`${prefix}.idx`);
    }
    writeFileSync(`${prefix}.idx`, Buffer.concat([whole, Buffer.alloc(8)]));
    caught(open);
  });

  test('a token file of another size is refused, before and while it is read', async () => {
    await write([[1, 2], [3]]);
    using store = open();
    truncateSync(`${prefix}.bin`, 4);
    expect(caught(open)).toMatchObject({ file: `${prefix}.bin`, expected: '6 bytes', found: '4 bytes' });
    expect(caught(() => store.document(1)).message).toContain('truncated');
  });

  test.each<[string, (bytes: Buffer) => void]>([
    ['magic', (b) => b.write('X', 0)],
    ['version', (b) => b.writeBigUInt64LE(2n, 9)],
    ['float type', (b) => b.writeUInt8(6, 17)],
    ['unknown type', (b) => b.writeUInt8(255, 17)],
    ['huge number of sequences', (b) => b.writeBigUInt64LE(2n ** 64n - 1n, 18)],
    ['sequences traded for boundaries', (b) => b.writeBigUInt64LE(0n, 18) && b.writeBigUInt64LE(6n, 26)],
    ['huge number of boundaries', (b) => b.writeBigUInt64LE(2n ** 61n, 26)],
    ['negative size', (b) => b.writeInt32LE(-2, 34)],
    ['larger size', (b) => b.writeInt32LE(1000, 34)],
    ['first offset', (b) => b.writeBigInt64LE(2n, 42)],
    ['overlapping offset', (b) => b.writeBigInt64LE(0n, 50)],
    ['negative offset', (b) => b.writeBigInt64LE(-2n, 50)],
    ['first boundary', (b) => b.writeBigInt64LE(1n, 58)],
    ['falling boundary', (b) => b.writeBigInt64LE(-1n, 66)],
    ['boundary beyond the end', (b) => b.writeBigInt64LE(2n ** 40n, 66)],
    ['last boundary', (b) => b.writeBigInt64LE(1n, 74)],
  ])('wrong %s', async (_, spoil) => {
    await write([[1, 2], [3]]);
    const bytes = readFileSync(`${prefix}.idx`);
    spoil(bytes);
    writeFileSync(`${prefix}.idx`, bytes);
    // A size may be found out by the index itself or by the length of the token file.
    expect(caught(open).file).toMatch(/train\.(idx|bin)$/);
  });

  test('any damage to the index is refused or gives documents within the file', async () => {
    await write([[1, 2], [3], [4, 5, 6]]);
    const whole = readFileSync(`${prefix}.idx`);
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), (at, value) => {
        const bytes = Buffer.from(whole);
        bytes[at] = value;
        writeFileSync(`${prefix}.idx`, bytes);
        try {
          using store = open();
          expect(readAll(store).flat()).toEqual([1, 2, 3, 4, 5, 6]);
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
        }
      }),
    );
  });

  test('a huge file is refused by its first bytes and its size, without being read', async () => {
    await write([[1]]);
    truncateSync(`${prefix}.idx`, 2 ** 40);
    expect(caught(open)).toMatchObject({ file: `${prefix}.idx`, found: `${2 ** 40} bytes` });
  });

  test('an index of more documents than can be numbered is refused before anything is made for them', async () => {
    await write([[1]]);
    const bytes = readFileSync(`${prefix}.idx`);
    bytes.writeBigUInt64LE(2n ** 33n, 18);
    writeFileSync(`${prefix}.idx`, bytes);
    truncateSync(`${prefix}.idx`, 34 + 12 * 2 ** 33 + 16);
    expect(caught(open)).toMatchObject({ file: `${prefix}.idx`, expected: `at most ${2 ** 31 - 1}` });
  });
});

test('memory does not grow with the tokens written', () => {
  const writer = new TokenWriter(prefix, 4096);
  const document = new Int32Array(100_000).fill(7);
  writer.add(document);
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 60; i++) writer.add(document);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
  writer.abort();
});

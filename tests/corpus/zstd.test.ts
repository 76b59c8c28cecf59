import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { XxHash64 } from '../../src/corpus/xxhash64.js';
import { decompressFrames } from '../../src/corpus/zstd.js';
import { DataError } from '../../src/errors.js';

const golden = (name: string) => readFileSync(new URL(`../golden/parquet/${name}`, import.meta.url));
const frames = golden('frames.jsonl.zst');
const { texts } = JSON.parse(golden('expected.json').toString()) as { texts: string[] };
const content = Buffer.from(texts.map((text) => `{"text": ${JSON.stringify(text)}}\n`).join(''));

async function decompressed(bytes: Buffer, pieces: number[] = []): Promise<Buffer> {
  const source: Buffer[] = [];
  let at = 0;
  for (const size of pieces) {
    source.push(bytes.subarray(at, at + size));
    at += size;
  }
  const found: Buffer[] = [];
  for await (const piece of decompressFrames([...source, bytes.subarray(at)], 'file')) found.push(piece);
  return Buffer.concat(found);
}

test('frames of zstd, with and without checksums and sizes, skippable and empty ones, wherever they are cut', async () => {
  expect((await decompressed(frames)).equals(content)).toBe(true);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 400 }), { maxLength: 30 }), async (pieces) => {
      expect((await decompressed(frames, pieces)).equals(content)).toBe(true);
    }),
    { numRuns: 20 },
  );
});

test.each<[number, number]>([
  // Low halves of XXH64 by Python's xxhash.
  [0, 0x51d8e999],
  [31, 0x9b4d8ee1],
  [32, 0x16ff32b4],
  [100, 0x32166597],
  [100_003, 0xcde8d7c1],
])('XXH64 of %i bytes, in any pieces', (size, expected) => {
  const bytes = Buffer.from(Array.from({ length: size }, (_, i) => (size > 1000 ? (i * 7) % 256 : i)));
  for (const piece of [7, 32, 4096]) {
    const hash = new XxHash64();
    for (let at = 0; at < size; at += piece) hash.update(bytes.subarray(at, at + piece));
    expect(hash.low()).toBe(expected);
  }
});

describe('damage', () => {
  test('is found wherever a byte of a frame with a checksum is changed', async () => {
    const end = frames.indexOf(Buffer.from([0x50, 0x2a, 0x4d, 0x18]));
    const frame = frames.subarray(0, end);
    const whole = await decompressed(frame);
    for (let at = 0; at < end; at++) {
      const bytes = Buffer.from(frame);
      bytes[at]! ^= 0x15;
      // A bit of a header may say nothing about the content.
      const found = await decompressed(bytes).catch((error: unknown) => error);
      if (found instanceof Buffer) expect(found.equals(whole)).toBe(true);
      else expect(found).toBeInstanceOf(DataError);
    }
  });

  test('a cut is found anywhere within a frame, with the byte where the frame begins', async () => {
    const begin = frames.indexOf(Buffer.from([0x50, 0x2a, 0x4d, 0x18])) + 11;
    for (const cut of [begin + 2, begin + 5, begin + 60, frames.length - 14]) {
      await expect(decompressed(frames.subarray(0, cut))).rejects.toMatchObject({
        file: 'file',
        key: expect.stringMatching(/^frame at byte \d+$/),
      });
    }
  });

  const header = (descriptor: number, ...rest: number[]) =>
    Buffer.from([0x28, 0xb5, 0x2f, 0xfd, descriptor, ...rest, ...new Array(20).fill(0)]);
  test.each<[string, Buffer, string]>([
    ['a window of 1.75 TB', header(0, 0xf7), 'window'],
    ['a window of 256 MB', header(0, 18 << 3), 'window'],
    ['a single segment of 4 GB', header(0xa0, 0xff, 0xff, 0xff, 0xff), 'window'],
    ['a single segment of 2^63', header(0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80), 'window'],
    ['a dictionary', header(1, 0x50, 7), 'dictionary'],
    ['a reserved bit', header(8, 0x50), 'reserved'],
    ['a reserved block', Buffer.concat([header(0, 0x50).subarray(0, 6), Buffer.from([7, 0, 0])]), 'block'],
    [
      'too large a block',
      Buffer.concat([header(0, 0x50).subarray(0, 6), Buffer.from([0xff, 0xff, 0xf0])]),
      'block',
    ],
    ['no frame', Buffer.from('hello world'), 'no zstd frame'],
    [
      'a skippable frame that is cut off',
      Buffer.from([0x5f, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff, 1]),
      'cut off',
    ],
  ])('%s is refused before memory is taken for it', async (_, bytes, found) => {
    const before = process.memoryUsage().arrayBuffers;
    await expect(decompressed(bytes)).rejects.toMatchObject({ found: expect.stringContaining(found) });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24);
  });
});

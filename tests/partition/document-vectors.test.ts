import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { TextTokenizer } from '../../src/corpus/tokenizer.js';
import {
  type DocumentIds,
  meanVector,
  prepareVectors,
  vectorPieces,
} from '../../src/partition/document-vectors.js';
import * as torch from '../../src/torch/index.js';
import { expectNoLeaks, makeStore, noPause, root, temporaryFolder } from './support.js';

const folder = temporaryFolder();
expectNoLeaks();

/** Vectors as rows of numbers; the table is freed. */
async function vectors(
  source: Omit<DocumentIds, 'sample'> & { sample?: Int32Array },
  table: torch.Tensor,
): Promise<number[][]> {
  const rows: number[][] = [];
  const d = table.shape[1]!;
  for await (const { first, vectors } of vectorPieces({ sample: null, ...source }, table, noPause)) {
    expect(first).toBe(rows.length);
    const values = vectors.toNumbers();
    for (let i = 0; i < values.length; i += d) rows.push(values.slice(i, i + d));
  }
  table.dispose();
  return rows;
}

const numbers = (v: number, d: number) => Float32Array.from({ length: v * d }, (_, i) => Math.sin(i * i));

test('h_x is the mean of the rows of its tokens (eq. 1), of cut documents only of what is left', async () => {
  const documents = [[0, 1, 1], [4], [], [2, 3, 0, 4, 2]];
  const store = await makeStore(`${folder()}/few`, documents, 5);
  const table = numbers(5, 3);
  for (const limit of [Number.POSITIVE_INFINITY, 2]) {
    const found = await vectors({ store, limit, retokenize: null }, torch.tensor(table, [5, 3]));
    documents.forEach((ids, i) => {
      const used = ids.slice(0, limit);
      for (let j = 0; j < 3; j++) {
        const mean = used.reduce((sum, id) => sum + table[3 * id + j]!, 0) / Math.max(1, used.length);
        expect(found[i]![j]).toBeCloseTo(mean, 6);
      }
    });
  }
  store.close();
});

test('pieces: more tokens than are looked up at once', async () => {
  const long = Array.from({ length: 300_000 }, (_, i) => i % 5);
  const store = await makeStore(`${folder()}/long`, [[1], long, [2, 2], long.slice(0, 100_000), [3]], 5);
  const found = await vectors(
    { store, limit: 1e9, retokenize: null },
    torch.tensor(Float32Array.of(0, 1, 2, 3, 4), [5, 1]),
  );
  expect(found.flat().map((value) => value.toFixed(3))).toEqual([
    '1.000',
    '2.000',
    '2.000',
    '2.000',
    '3.000',
  ]);
  store.close();
});

test('another tokenizer: the texts are restored and encoded anew', async () => {
  const from = await TextTokenizer.load(`${root}data/tokenizer/bpe-4096.json`);
  // One token per word, to be unlike the other.
  const words = { '[UNK]': 0, Grün: 1, is: 2, '<unk>': 3, a: 4, colour: 5, '.': 6 };
  writeFileSync(
    `${folder()}/words.json`,
    JSON.stringify({
      version: '1.0',
      added_tokens: [
        {
          id: 0,
          content: '[UNK]',
          special: true,
          single_word: false,
          lstrip: false,
          rstrip: false,
          normalized: false,
        },
      ],
      normalizer: null,
      pre_tokenizer: { type: 'WhitespaceSplit' },
      post_processor: null,
      decoder: null,
      model: { type: 'WordLevel', vocab: words, unk_token: '[UNK]' },
    }),
  );
  const to = await TextTokenizer.load(`${folder()}/words.json`, 0);
  const texts = ['Grün is a colour .', '<unk> is <unk>', ' \n'];
  const ids = await from.encode(texts);
  const store = await makeStore(
    `${folder()}/texts`,
    ids.map((list) => [...list, from.eos.id]),
    4096,
  );
  const found = await vectors(
    { store, limit: 1e9, retokenize: { from, to } },
    torch.tensor(Float32Array.of(0, 1, 10, 100, 1000, 10_000, 100_000), [7, 1]),
  );
  expect(found.flat()[0]).toBeCloseTo(111_011 / 5, 1);
  expect(found.flat()[1]).toBeCloseTo(210 / 3, 3);
  expect(found.flat()[2]).toBe(0);
  store.close();
});

test('centring and unit length', async () => {
  const x = torch.tensor(Float32Array.of(1, 2, 3, 2, 5, 2), [3, 2]);
  const mean = await meanVector(x, 'cpu', noPause);
  expect([...mean]).toEqual([3, 2]);
  await prepareVectors(x, { mean, normalize: true }, noPause);
  // The middle one is the mean itself: it has no direction and stays 0.
  expect(x.toNumbers()).toEqual([-1, 0, 0, 0, 1, 0]);
  x.dispose();
});

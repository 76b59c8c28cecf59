import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Batch, type BatchOptions, BatchSource, NO_TARGET, rowReads } from '../../src/corpus/batches.js';
import { DataError } from '../../src/errors.js';
import { loadRecipe } from '../../src/recipe/load.js';
import { numbered, storeOf } from './stores.js';

type Rows = { inputs: number[]; labels: number[] }[];

function rowsOf(batch: Batch): Rows {
  const { rows, sequenceLength: t } = batch;
  return Array.from({ length: rows }, (_, r) => ({
    inputs: [...batch.inputIds.subarray(r * t, (r + 1) * t)],
    labels: [...batch.labels.subarray(r * t, (r + 1) * t)],
  }));
}

function take(source: BatchSource, steps: number): Rows {
  return Array.from({ length: steps }, (_, step) => rowsOf(source.batch(step))).flat();
}

const options = (store: BatchOptions['store'], more: Partial<BatchOptions> = {}): BatchOptions => ({
  store,
  documents: null,
  batch: 'packed',
  sequenceLength: 4,
  batchSize: 1,
  seed: 5,
  eos: 0,
  ...more,
});

describe('packed', () => {
  test('every token of the selection is a target once an epoch, behind its own predecessor', async () => {
    const documents = numbered(5, 1, 9, 3, 7);
    const store = await storeOf(documents);
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.nat(4), { minLength: 1 }),
        fc.integer({ min: 2, max: 40 }),
        fc.nat(1000),
        async (chosen, sequenceLength, seed) => {
          const source = new BatchSource(
            options(store, { documents: Int32Array.from(chosen), sequenceLength, seed }),
          );
          const tokens = chosen.flatMap((d) => documents[d]!);
          expect(source.rowsPerEpoch).toBe(Math.ceil(tokens.length / sequenceLength));
          const targets = new Map<number, number>();
          const before = new Map<number, number>();
          for (const { inputs, labels } of take(source, source.rowsPerEpoch)) {
            expect(labels.slice(0, -1)).toEqual(inputs.slice(1));
            labels.forEach((label, i) => {
              targets.set(label, (targets.get(label) ?? 0) + 1);
              expect(before.get(label) ?? inputs[i]).toBe(inputs[i]);
              before.set(label, inputs[i]!);
            });
          }
          expect([...targets.keys()].sort((a, b) => a - b)).toEqual([...tokens].sort((a, b) => a - b));
          const repeated = [...targets.values()].reduce((sum, n) => sum + n - 1, 0);
          expect(repeated).toBe(source.rowsPerEpoch * sequenceLength - tokens.length);
          // Documents stay whole: inside one, the predecessor is the token before.
          for (const d of chosen)
            for (const token of documents[d]!.slice(1)) expect(before.get(token)).toBe(token - 1);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('counts', async () => {
    const source = new BatchSource(options(await storeOf(numbered(30)), { batchSize: 3 }));
    expect(source.batch(2)).toMatchObject({
      rows: 3,
      sequenceLength: 4,
      tokens: 12,
      targets: 12,
      valid: null,
    });
    expect(source.targetTokens(2)).toBe(12);
  });

  test('a ring shorter than a row goes round', async () => {
    const source = new BatchSource(options(await storeOf([[7, 8, 9]]), { sequenceLength: 8 }));
    expect(source.rowsPerEpoch).toBe(1);
    expect(rowsOf(source.batch(0))).toEqual([
      { inputs: [7, 8, 9, 7, 8, 9, 7, 8], labels: [8, 9, 7, 8, 9, 7, 8, 9] },
    ]);
  });
});

describe('documents apart', () => {
  const documents = [
    [1, 2, 3, 0],
    [4, 0],
    [5, 6, 7, 8, 9, 0],
  ];

  test('has the rows and targets of joined ones; a document begins with the end token before it', async () => {
    const store = await storeOf(documents);
    const joined = new BatchSource(options(store, { batchSize: 3 }));
    const apart = new BatchSource(options(store, { batchSize: 3, apart: true }));
    const { positions, ...rest } = apart.batch(0);
    expect({ ...rest }).toEqual(joined.batch(0));
    rest.inputIds.forEach((id, i) => {
      const expected = i % 4 === 0 || id === 0 ? 0 : positions![i - 1]! + 1;
      expect(positions![i]).toBe(expected);
    });
    expect(joined.batch(0).positions).toBeUndefined();
  });

  test('changes nothing where a row is one document, nor the keys of recipes that do not ask for it', async () => {
    const store = await storeOf(documents);
    const padded = options(store, { batch: 'padded', apart: true });
    expect(new BatchSource(padded).batch(0)).toEqual(new BatchSource({ ...padded, apart: false }).batch(0));
    const { corpus } = loadRecipe(new URL('../../recipes/tiny.yaml', import.meta.url).pathname).recipe;
    const { batch, sequenceLength } = corpus;
    expect(rowReads(corpus)).toEqual({ batch, sequenceLength });
    expect(rowReads({ ...corpus, documents: 'apart' })).toEqual({
      batch,
      sequenceLength,
      documents: 'apart',
    });
    expect(rowReads({ ...corpus, batch: 'padded', documents: 'apart' })).toEqual({
      batch: 'padded',
      sequenceLength,
    });
  });
});

describe('padded', () => {
  test('one document a row, cut, shifted as transformers does', async () => {
    const documents = [
      [1, 2, 3, 0],
      [4, 5, 6, 7, 8, 9, 0],
      [10, 0],
    ];
    const source = new BatchSource(
      options(await storeOf(documents), { batch: 'padded', batchSize: 3, sequenceLength: 5 }),
    );
    const batch = source.batch(0);
    const byFirst = rowsOf(batch).sort((a, b) => a.inputs[0]! - b.inputs[0]!);
    const none = NO_TARGET;
    expect(byFirst).toEqual([
      { inputs: [1, 2, 3, 0, 0], labels: [2, 3, 0, none, none] },
      { inputs: [4, 5, 6, 7, 8], labels: [5, 6, 7, 8, none] },
      { inputs: [10, 0, 0, 0, 0], labels: [0, none, none, none, none] },
    ]);
    expect(batch).toMatchObject({ tokens: 4 + 5 + 2, targets: 3 + 4 + 1 });
    expect(source.targetTokens(0)).toBe(8);
    rowsOf(batch).forEach(({ inputs }, r) => {
      const valid = [...batch.valid!.subarray(r * 5, r * 5 + 5)];
      const length = Math.min(5, documents.find((document) => document[0] === inputs[0])!.length);
      expect(valid).toEqual(Array.from({ length: 5 }, (_, i) => (i < length ? 1 : 0)));
    });
  });

  test('targetTokens agrees with the batches, over epochs', async () => {
    const source = new BatchSource(
      options(await storeOf(numbered(2, 9, 4, 3, 30, 1, 5)), {
        batch: 'padded',
        batchSize: 3,
        sequenceLength: 6,
      }),
    );
    for (let step = 0; step < 10; step++) expect(source.batch(step).targets).toBe(source.targetTokens(step));
  });
});

describe.each(['packed', 'padded'] as const)('order (%s)', (batch) => {
  const lengths = Array.from({ length: 25 }, (_, i) => 3 + (i % 5));

  test('every epoch holds the same rows in another order; batches run across epochs', async () => {
    const store = await storeOf(numbered(...lengths));
    const one = new BatchSource(options(store, { batch }));
    const rows = one.rowsPerEpoch;
    const all = take(one, 3 * rows).map((row) => JSON.stringify(row));
    const epochs = [0, 1, 2].map((e) => all.slice(e * rows, (e + 1) * rows));
    expect(new Set(epochs[0]).size).toBe(rows);
    for (const epoch of epochs) expect([...epoch].sort()).toEqual([...epochs[0]!].sort());
    expect(epochs[1]).not.toEqual(epochs[0]);
    expect(epochs[2]).not.toEqual(epochs[1]);
    const seven = new BatchSource(options(store, { batch, batchSize: 7 }));
    const steps = Math.floor((3 * rows) / 7);
    expect(take(seven, steps).map((row) => JSON.stringify(row))).toEqual(all.slice(0, steps * 7));
  });

  test('a step needs no history, and micro-batches are slices', async () => {
    const store = await storeOf(numbered(...lengths));
    const make = () => new BatchSource(options(store, { batch, batchSize: 6 }));
    const walked = make();
    const inOrder = Array.from({ length: 20 }, (_, step) => walked.batch(step));
    for (const step of [19, 3, 11, 0]) {
      expect(make().batch(step)).toEqual(inOrder[step]);
      expect(walked.batch(step)).toEqual(inOrder[step]);
      const parts = [walked.rows(step, 0, 1), walked.rows(step, 1, 3), walked.rows(step, 4, 2)];
      expect(parts.flatMap(rowsOf)).toEqual(rowsOf(inOrder[step]!));
      expect(parts.reduce((sum, part) => sum + part.targets, 0)).toBe(inOrder[step]!.targets);
    }
  });

  test('follows the seed, not the order in which documents are named', async () => {
    const store = await storeOf(numbered(...lengths));
    const first = (documents: number[], seed: number) =>
      new BatchSource(
        options(store, { batch, batchSize: 5, documents: Int32Array.from(documents), seed }),
      ).batch(0);
    expect(first([3, 9, 4, 20], 1)).toEqual(first([20, 4, 3, 9], 1));
    expect(first([3, 9, 4, 20, 7, 8], 1)).not.toEqual(first([3, 9, 4, 20, 7, 8], 2));
  });

  test('an empty selection is refused', async () => {
    const store = await storeOf(numbered(3));
    expect(() => new BatchSource(options(store, { batch, documents: new Int32Array(0) }))).toThrow(DataError);
  });
});

test('the order is what it was: a change here changes every trained model', async () => {
  const source = new BatchSource(options(await storeOf(numbered(3, 2, 4, 3)), { batchSize: 2 }));
  // From Python: hashlib, Philox and Fisher-Yates written anew.
  expect(take(source, 3).map(({ inputs }) => inputs)).toEqual([
    [12, 6, 7, 8],
    [4, 5, 10, 11],
    [9, 1, 2, 3],
    [12, 6, 7, 8],
    [9, 1, 2, 3],
    [4, 5, 10, 11],
  ]);
});

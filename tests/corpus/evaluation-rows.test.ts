import { describe, expect, test } from 'vitest';
import { NO_TARGET } from '../../src/corpus/batches.js';
import { type EvaluationOptions, EvaluationRows } from '../../src/corpus/evaluation-rows.js';
import { DataError } from '../../src/errors.js';
import { numbered, storeOf } from './stores.js';

const documents = [
  [11, 12, 0],
  [21, 0],
  [31, 32, 33, 34, 35, 36, 0],
  [41, 0],
];
const make = async (more: Partial<EvaluationOptions> = {}, contents: number[][] = documents) =>
  new EvaluationRows({ store: await storeOf(contents), batch: 'packed', sequenceLength: 4, eos: 0, ...more });

/** (document, context, target) of every target in order. */
function targetsOf(rows: EvaluationRows, count: number): [number, number, number][] {
  const all: [number, number, number][] = [];
  for (let first = 0; first < rows.rows; first += count) {
    const batch = rows.batch(first, count);
    expect(batch.targets).toBe(batch.labels.filter((label) => label !== NO_TARGET).length);
    batch.labels.forEach((label, i) => {
      expect(batch.documents[i] === -1).toBe(label === NO_TARGET);
      if (label !== NO_TARGET) all.push([batch.documents[i]!, batch.inputIds[i]!, label]);
    });
  }
  return all;
}

describe('packed', () => {
  test.each([1, 2, 3, 10])(
    'every token is a target once, behind its predecessor, %i rows at a time',
    async (count) => {
      const rows = await make();
      const stream = [0, ...documents.flat()];
      const expected = documents.flatMap((document, d) => document.map((token) => [d, token]));
      expect(targetsOf(rows, count)).toEqual(expected.map(([d, token], i) => [d, stream[i], token]));
      expect(rows).toMatchObject({ rows: 4, targets: 14 });
    },
  );

  test('the last row is padded, and only it', async () => {
    const rows = await make();
    expect(rows.batch(0, 3).valid).toBeNull();
    const last = rows.batch(3, 5);
    expect(last).toMatchObject({ rows: 1, tokens: 2, targets: 2 });
    expect([...last.valid!]).toEqual([1, 1, 0, 0]);
    expect([...last.inputIds]).toEqual([0, 41, 0, 0]);
    expect([...last.labels]).toEqual([41, 0, NO_TARGET, NO_TARGET]);
  });

  test('documents apart: the same rows and targets, with the place of each token in its document', async () => {
    const [joined, apart] = [await make(), await make({ apart: true })];
    const { positions, ...rest } = apart.batch(0, 4);
    expect(rest).toEqual(joined.batch(0, 4));
    // Rows 0 11 12 0, 21 0 31 32, 33 34 35 36, 0 41 and padding.
    expect([...positions!]).toEqual([0, 1, 2, 0, 0, 0, 1, 2, 0, 1, 2, 3, 0, 1, 0, 0]);
  });

  test('the first targets only', async () => {
    const rows = await make({ maxTargets: 6 });
    expect(rows).toMatchObject({ rows: 2, targets: 6 });
    expect(targetsOf(rows, 2)).toEqual(targetsOf(await make(), 4).slice(0, 6));
  });
});

describe('padded', () => {
  test('one document a row, its own targets', async () => {
    const rows = await make({ batch: 'padded' });
    expect(rows).toMatchObject({ rows: 4, targets: 2 + 1 + 3 + 1 });
    expect(targetsOf(rows, 3)).toEqual([
      [0, 11, 12],
      [0, 12, 0],
      [1, 21, 0],
      [2, 31, 32],
      [2, 32, 33],
      [2, 33, 34],
      [3, 41, 0],
    ]);
    expect(rows.batch(1, 2)).toMatchObject({ rows: 2, tokens: 6 });
  });

  test('the first targets only, in whole documents', async () => {
    expect(await make({ batch: 'padded', maxTargets: 3 })).toMatchObject({ rows: 2, targets: 3 });
    expect(await make({ batch: 'padded', maxTargets: 4 })).toMatchObject({ rows: 3, targets: 6 });
  });
});

test('empty documents are passed over; nothing at all is refused', async () => {
  expect(targetsOf(await make({}, [[], [1], [], [2]]), 1).map(([d]) => d)).toEqual([1, 3]);
  await expect(make({}, [])).rejects.toThrow(DataError);
  await expect(make({ batch: 'padded' }, numbered(1, 1))).rejects.toThrow(DataError);
});

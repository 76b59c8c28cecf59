import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DataError } from '../../src/errors.js';
import { pairedBootstrap } from '../../src/report/bootstrap.js';
import { readCurve, smoothed, stepsToTarget } from '../../src/report/curves.js';

const folder = mkdtempSync(join(tmpdir(), 'disco-curves-'));
const points = (...losses: number[]) => losses.map((loss, i) => ({ step: (i + 1) * 10, loss }));

describe('metrics', () => {
  it('are two curves; the later line of a step counts', () => {
    const file = join(folder, 'metrics.jsonl');
    const lines = [
      { step: 1, loss: 5, tokens: 8 },
      { step: 2, loss: 4 },
      { step: 2, heldOutLoss: 4.5 },
      { step: 2, loss: 3 },
      { step: 3, loss: 2 },
    ];
    writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    const curve = readCurve(file);
    expect(curve.training.map(({ loss }) => loss)).toEqual([5, 3, 2]);
    expect(curve.heldOut).toEqual([{ step: 2, loss: 4.5 }]);
  });

  it('refuse a line that is not of metrics, by its number', () => {
    const file = join(folder, 'bad.jsonl');
    writeFileSync(file, '{"step":1,"loss":2}\n{"step":"two","loss":2}\n');
    expect(() => readCurve(file)).toThrow(DataError);
    try {
      readCurve(file);
    } catch (error) {
      expect((error as DataError).key).toBe('line 2');
    }
  });
});

it('smoothing is the mean of the last steps', () => {
  expect(smoothed(points(1, 2, 3, 7), 3)).toEqual([
    { step: 30, loss: 2 },
    { step: 40, loss: 4 },
  ]);
  expect(smoothed(points(1, 2), 3)).toEqual([]);
});

describe('steps to a target', () => {
  it('are the first crossing of a single training', () => {
    const reach = stepsToTarget([{ horizon: 40, points: points(5, 4, 4.2, 3.9) }], 4);
    expect(reach).toEqual({ target: 4, steps: 20, loss: 4, billed: 40, lowest: 3.9 });
  });

  it('are the cheaper of first crossing and smallest sufficient horizon of a grid', () => {
    const long = { horizon: 100, points: points(9, 8, 7, 6, 5, 4.5, 4.2, 4.1, 4, 3.9) };
    const short = { horizon: 50, points: points(8, 7, 6, 5, 3.99) };
    expect(stepsToTarget([long, short], 4)).toMatchObject({ steps: 50, billed: 50 });
    expect(stepsToTarget([long], 4)).toMatchObject({ steps: 90, billed: 100 });
  });

  it('not reached is a result', () => {
    const reach = stepsToTarget([{ horizon: 20, points: points(5, 4.5) }], 4);
    expect(reach).toEqual({ target: 4, steps: null, loss: null, billed: 20, lowest: 4.5 });
    expect(stepsToTarget([], 4).steps).toBeNull();
  });
});

describe('paired bootstrap', () => {
  const lengths = Array.from({ length: 40 }, (_, i) => 50 + 7 * (i % 9));
  const documents = (loss: (i: number) => number) =>
    lengths.map((tokens, i): [number, number] => [tokens * loss(i), tokens]);

  it('is exact where every document differs by the same', () => {
    const interval = pairedBootstrap(
      documents((i) => Math.sin(i) + 0.25),
      documents((i) => Math.sin(i)),
    );
    for (const value of [interval.difference, interval.low, interval.high])
      expect(value).toBeCloseTo(0.25, 10);
  });

  it('has the width of the standard error, and follows from its seed', () => {
    // Uniform steps from -c to c, whose standard deviation is 0.1.
    const noise = (i: number) => 0.1 * Math.sqrt(3) * (i / 19.5 - 1) * Math.sqrt(39 / 41);
    const same = lengths.map((_, i): [number, number] => [100 * (3 + noise(i)), 100]);
    const flat = lengths.map((): [number, number] => [300, 100]);
    const interval = pairedBootstrap(same, flat, { resamples: 4000 });
    // Standard deviation 0.1 over 40 documents: 1.96 * 0.1 / sqrt(40) = 0.031.
    expect(interval.difference).toBeCloseTo(0, 12);
    expect(interval.high).toBeCloseTo(0.031, 2);
    expect(interval.low).toBeCloseTo(-0.031, 2);
    expect(pairedBootstrap(same, flat, { resamples: 4000 })).toEqual(interval);
    expect(pairedBootstrap(same, flat, { seed: 1, resamples: 4000 }).low).not.toBe(interval.low);
  });

  it('refuses documents that are not the same', () => {
    expect(() => pairedBootstrap([[1, 2]], [[1, 3]])).toThrow('same documents');
    expect(() => pairedBootstrap([[1, 2]], [])).toThrow('same documents');
  });
});

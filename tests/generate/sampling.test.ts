import { describe, expect, test } from 'vitest';
import { Random } from '../../src/corpus/random.js';
import { NumericError, RequestError } from '../../src/errors.js';
import { checkSampling, distribution, draw, mostLikely, type Sampling } from '../../src/generate/sampling.js';
import { goldenJson } from './golden.js';

const golden = goldenJson<{
  logits: number[];
  cases: { temperature: number; topK: number; topP: number; probabilities: Record<string, number> }[];
}>('sampling.json');

test("probabilities are those of transformers' processors", () => {
  for (const { temperature, topK, topP, probabilities } of golden.cases) {
    const found = distribution(golden.logits, { temperature, topK: topK === 0 ? null : topK, topP });
    const kept = [...found.keys()].filter((token) => found[token]! > 0);
    const name = `temperature ${temperature}, top-k ${topK}, top-p ${topP}`;
    expect(kept.map(String), name).toEqual(Object.keys(probabilities));
    for (const token of kept) expect(found[token]!, name).toBeCloseTo(probabilities[token]!, 12);
  }
  expect(golden.cases).toHaveLength(60);
});

describe('by hand', () => {
  // Probabilities 0.5, 0.3, 0.15, 0.05.
  const logits = [0.3, 0.5, 0.05, 0.15].map(Math.log);
  const of = (sampling: Partial<Sampling>) =>
    [...distribution(logits, { temperature: 1, topK: null, topP: 1, ...sampling })].map((p) =>
      Number(p.toFixed(9)),
    );

  test('temperature is a power of the probabilities', () => {
    expect(of({})).toEqual([0.3, 0.5, 0.05, 0.15]);
    const squares = [0.09, 0.25, 0.0025, 0.0225].map((p) => Number((p / 0.365).toFixed(9)));
    expect(of({ temperature: 0.5 })).toEqual(squares);
  });

  test('top-k keeps k, top-p what it takes, temperature and top-k before it', () => {
    expect(of({ topK: 2 })).toEqual([0.375, 0.625, 0, 0]);
    expect(of({ topP: 0.79 })).toEqual([0.375, 0.625, 0, 0]);
    expect(of({ topP: 0.81 }).map((p) => p > 0)).toEqual([true, true, false, true]);
    expect(of({ topP: 0.1 })).toEqual([0, 1, 0, 0]);
    // Of all, 0.5 would not reach 0.6; of the two best it does.
    expect(of({ topK: 2, topP: 0.6 })).toEqual([0, 1, 0, 0]);
  });

  test('equal logits stay together', () => {
    const equal = [1, 2, 2, 2, 0];
    const kept = (sampling: Sampling) => [...distribution(equal, sampling)].map((p) => p > 0);
    expect(kept({ temperature: 1, topK: 1, topP: 1 })).toEqual([false, true, true, true, false]);
    expect(kept({ temperature: 1, topK: 3, topP: 0.6 })).toEqual([false, true, true, true, false]);
  });

  test('draws as often as the probabilities say: chi-square with 3 degrees of freedom at 0.1 %', () => {
    const probabilities = distribution(logits, { temperature: 1, topK: null, topP: 1 });
    const random = new Random(3, 'generate');
    const counts = [0, 0, 0, 0];
    const draws = 20_000;
    for (let i = 0; i < draws; i++) counts[draw(probabilities, random)]!++;
    const chi = counts.reduce((sum, count, i) => {
      const expected = draws * probabilities[i]!;
      return sum + (count - expected) ** 2 / expected;
    }, 0);
    expect(chi).toBeLessThan(16.27);
  });

  test('a token of probability 0 is never drawn, not even where rounding leaves the sum below 1', () => {
    const one = { uniform: () => 1 - 2 ** -53 } as Random;
    expect(draw(Float64Array.of(0, 0.3, 0.7 - 1e-9, 0), one)).toBe(2);
    expect(draw(Float64Array.of(0, 1, 0), { uniform: () => 0 } as Random)).toBe(1);
  });

  test('the most likely is the first of equal ones', () => {
    expect(mostLikely([1, 3, 3, 2])).toBe(1);
    expect(mostLikely([-5])).toBe(0);
  });

  test.each([[[1, Number.NaN]], [[Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]], [[1, Infinity]]])(
    'logits %j are refused',
    (bad) => {
      expect(() => distribution(bad, { temperature: 1, topK: null, topP: 1 })).toThrow(NumericError);
    },
  );
});

test.each([
  { temperature: 0 },
  { temperature: Number.NaN },
  { temperature: Number.POSITIVE_INFINITY },
  { topK: 0 },
  { topK: 1.5 },
  { topP: 0 },
  { topP: 1.01 },
])('%j is refused by its name', (change) => {
  const sampling = { temperature: 1, topK: null, topP: 1, ...change };
  expect(() => checkSampling(sampling)).toThrow(RequestError);
  expect(() => checkSampling(sampling)).toThrow(expect.objectContaining({ key: Object.keys(change)[0] }));
});

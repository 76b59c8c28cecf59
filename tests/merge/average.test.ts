import { describe, expect, it } from 'vitest';
import { averageTensors, changeLengths, radialStretch, relativeDrift } from '../../src/merge/average.js';
import * as torch from '../../src/torch/index.js';
import { random } from '../model/fixtures.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();

type Values = readonly number[];

/** Float32 values around 0, of very different sizes, -0 among them. */
function values(seed: number, count = 24): number[] {
  const next = random(seed);
  const list = Array.from({ length: count }, () => Math.fround((next() - 0.5) * 10 ** (8 * next() - 6)));
  return [...list.slice(0, -2), seed === 1 ? 0 : list.at(-2)!, -0];
}

/** Averages lists as tensors; returns the bytes and the numbers of the result, and its drift. */
function average(
  lists: readonly Values[],
  gamma: Values,
  start: Values | null,
  dtype: 'float32' | 'bfloat16' = 'float32',
) {
  return torch.scope(() => {
    const tensor = (list: Values) => torch.tensor(list, [list.length], { dtype });
    const tensors = lists.map(tensor);
    const from = start && tensor(start);
    const radial = from && {
      start: from,
      stretch: radialStretch([changeLengths(tensors, gamma, from)], gamma),
    };
    const { merged, drift } = averageTensors(tensors, gamma, radial);
    expect(merged.dtype).toBe(dtype);
    return { bytes: [...merged.bytes()], numbers: merged.toNumbers(), drift };
  });
}

const bytesOf = (list: Values, dtype: 'float32' | 'bfloat16' = 'float32') =>
  torch.scope(() => [...torch.tensor(list, [list.length], { dtype }).bytes()]);
const norm = (list: Values) => Math.hypot(...list);
const minus = (a: Values, b: Values) => a.map((value, i) => value - b[i]!);

const [a, b, c, start] = [1, 2, 3, 4].map((seed) => values(seed)) as [number[], number[], number[], number[]];
const gamma = [0.5, 0.3, 0.2];

describe('plain average', () => {
  it('is the weighted sum in float64, rounded once', () => {
    const expected = a.map((_, i) => Math.fround(gamma[0]! * a[i]! + gamma[1]! * b[i]! + gamma[2]! * c[i]!));
    expect(average([a, b, c], gamma, null).numbers).toEqual(expected);
    // In float32 the small one would be lost: 1e8 + 1 - 1e8.
    expect(average([[1e8], [4], [-1e8]], [0.25, 0.5, 0.25], null).numbers).toEqual([2]);
  });
});

describe('radial average', () => {
  it('has the mean direction of the changes and their mean length', () => {
    const { numbers } = average([a, b, c], gamma, start);
    const changes = [a, b, c].map((list) => minus(list, start));
    const mean = start.map((_, i) => changes.reduce((sum, change, k) => sum + gamma[k]! * change[i]!, 0));
    const length = changes.reduce((sum, change, k) => sum + gamma[k]! * norm(change), 0);
    const expected = start.map((value, i) => value + (mean[i]! * length) / norm(mean));
    numbers.forEach((value, i) => {
      expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(1e-6 * Math.abs(expected[i]!) + 1e-12);
    });
    expect(norm(minus(numbers, start)) / length).toBeCloseTo(1, 6);
    expect(norm(mean) / length).toBeLessThan(0.9);
  });

  it('has the same length when it is measured in pieces', () => {
    torch.scope(() => {
      const tensor = (list: Values) => torch.tensor(list, [list.length], { dtype: 'float32' });
      const cut = (from: number, to: number) =>
        changeLengths(
          [a, b, c].map((list) => tensor(list.slice(from, to))),
          gamma,
          tensor(start.slice(from, to)),
        );
      const whole = radialStretch([cut(0, a.length)], gamma);
      expect(whole).toBeGreaterThan(0.1);
      expect(radialStretch([cut(0, 5), cut(5, 6), cut(6, a.length)], gamma)).toBeCloseTo(whole, 12);
    });
  });

  it('is the plain one where the changes have no mean direction', () => {
    const away = [1, 2, 3];
    const back = away.map((value) => -value);
    expect(average([away, back], [0.5, 0.5], [0, 0, 0]).numbers).toEqual([0, 0, 0]);
    const shifted = (list: Values) => list.map((value) => Math.fround(value + 1000));
    expect(average([shifted(away), shifted(back)], [0.5, 0.5], [1000, 1000, 1000]).numbers).toEqual([
      1000, 1000, 1000,
    ]);
    // A third of the length in every direction: rounding is left of what cancels.
    const thirds = [
      [0.1, 0],
      [0.1, 0],
      [Math.fround(-0.2), 0],
    ];
    const { numbers } = average(thirds, [1 / 3, 1 / 3, 1 / 3], [0, 0]);
    expect(Math.abs(numbers[0]!)).toBeLessThan(1e-8);
  });
});

describe.each(['plain', 'radial'] as const)('%s', (way) => {
  const from = way === 'radial' ? start : null;

  it.each(['float32', 'bfloat16'] as const)('1, 0, 0 returns the first bit for bit, %s', (dtype) => {
    expect(average([a, b, c], [1, 0, 0], from, dtype).bytes).toEqual(bytesOf(a, dtype));
    expect(average([a, b, c], [0, 0, 1], from, dtype).bytes).toEqual(bytesOf(c, dtype));
    const broken = b.map(() => Number.NaN);
    expect(average([a, broken], [1, 0], from, dtype).bytes).toEqual(bytesOf(a, dtype));
  });

  it('equal backbones come back bit for bit, moved or not', () => {
    for (const weights of [[1 / 3, 1 / 3, 1 / 3], gamma, [0.7, 0.1, 0.2]]) {
      expect(average([a, a, a], weights, from).numbers).toEqual(average([a, a, a], [1, 0, 0], from).numbers);
      expect(average([a, a, a], weights, from).numbers).toEqual(a);
      expect(average([a, a, a], weights, way === 'radial' ? a : null).numbers).toEqual(a);
    }
  });
});

describe('relative drift', () => {
  it('is sqrt(mean_k ||theta_k - average||^2 / ||average||^2) over all tensors', () => {
    const first = average(
      [
        [1, 2],
        [3, 2],
        [2, 5],
      ],
      [1 / 3, 1 / 3, 1 / 3],
      null,
    );
    const second = average([[0], [0], [3]], [1 / 3, 1 / 3, 1 / 3], null);
    // Averages (2, 3) and 1; squared distances 2, 2, 4 and 1, 1, 4.
    expect(relativeDrift([first.drift, second.drift], 3)).toBeCloseTo(Math.sqrt(14 / 3 / 14), 12);
  });

  it('is 0 for equal backbones and does not depend on the way of averaging', () => {
    expect(relativeDrift([average([a, a], [0.5, 0.5], null).drift], 2)).toBe(0);
    expect(average([a, b, c], gamma, start).drift).toEqual(average([a, b, c], gamma, null).drift);
  });
});

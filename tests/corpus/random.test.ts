import { describe, expect, test } from 'vitest';
import { philox, Random } from '../../src/corpus/random.js';

const hex = (words: readonly number[]) => words.map((word) => word.toString(16).padStart(8, '0')).join(' ');

describe('philox', () => {
  // kat_vectors of Random123, philox 4x32 10.
  test.each<[number[], number[], string]>([
    [[0, 0, 0, 0], [0, 0], '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
    [Array(4).fill(0xffffffff), Array(2).fill(0xffffffff), '408f276d 41c83b0e a20bc7c6 6d5451fd'],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      'd16cfe09 94fdcceb 5001e420 24126ea1',
    ],
  ])('known answer %#', (counter, key, expected) => {
    const found = philox(counter as [number, number, number, number], key as [number, number]);
    expect(hex(found)).toBe(expected);
  });
});

describe('streams', () => {
  test('follow from their name and differ between names', () => {
    const draw = (...name: (string | number)[]) => {
      const random = new Random(...name);
      return Array.from({ length: 5 }, () => random.uint32());
    };
    expect(draw(1, 'rows', 0)).toEqual(draw(1, 'rows', 0));
    const all = [
      draw(1, 'rows', 0),
      draw(2, 'rows', 0),
      draw(1, 'rows', 1),
      draw(1, 'documents', 0),
      draw(1, 'rows0'),
    ];
    expect(new Set(all.flat()).size).toBe(25);
    // The first block of the stream named "7\0x", from Python: hashlib and the reference implementation.
    expect(draw(7, 'x').slice(0, 4)).toEqual([217219222, 1313835342, 1115087258, 1953692797]);
  });

  test('below is uniform, also where n does not divide 2^32', () => {
    const random = new Random('below');
    const counts = new Array<number>(7).fill(0);
    for (let i = 0; i < 70_000; i++) counts[random.below(7)]!++;
    for (const n of counts) expect(Math.abs(n - 10_000)).toBeLessThan(400);
    // With 3/4 of 2^32 a plain remainder would give the first third twice as often.
    const n = 3 * 2 ** 30;
    const low = Array.from({ length: 6000 }, () => random.below(n)).filter((x) => x < 2 ** 30).length;
    expect(Math.abs(low - 2000)).toBeLessThan(200);
    expect(random.below(1)).toBe(0);
    expect(random.below(2 ** 32)).toBeLessThan(2 ** 32);
  });

  test('uniform lies in [0, 1) with mean one half', () => {
    const random = new Random('uniform');
    const values = Array.from({ length: 20_000 }, () => random.uniform());
    expect(Math.min(...values)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...values)).toBeLessThan(1);
    expect(values.reduce((a, b) => a + b) / values.length).toBeCloseTo(0.5, 2);
  });

  test('a permutation holds every number once and moves nearly all', () => {
    const order = new Random('order').permutation(1000);
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(order.filter((value, i) => value === i).length).toBeLessThan(10);
    expect([...new Random(1).permutation(0)]).toEqual([]);
  });
});

/** Python's random numbers and strings: against numbers that Python 3.11 gave, and by hand. */
import { describe, expect, it } from 'vitest';
import { PythonRandom } from '../../src/evaluate/python/random.js';
import { capitalize, countWords, length, strip } from '../../src/evaluate/python/text.js';
import golden from './golden/random.json' with { type: 'json' };

describe('random.Random', () => {
  it.each(Object.entries(golden.uint32))('gives the bits of seed %s', (seed, bits) => {
    const random = new PythonRandom(Number(seed));
    expect(bits.map(() => random.uint32())).toEqual(bits);
  });

  it.each(Object.entries(golden.random))('gives the floats of seed %s after 2,000 words', (seed, floats) => {
    const random = new PythonRandom(Number(seed));
    for (let i = 0; i < 2000; i++) random.uint32();
    expect(floats.map(() => random.random())).toEqual(floats);
  });

  it('samples from small and large populations, one after another', () => {
    const random = new PythonRandom(1234);
    for (const [n, count, picked] of golden.sample as [number, number, number[]][]) {
      expect(random.sample(n, count), `${count} of ${n}`).toEqual(picked);
    }
  });
});

describe('str', () => {
  it('strips what Python takes for white space', () => {
    expect(strip('\u001c\u0085 \t a\ufeff \n\u2029')).toBe('a\ufeff');
  });

  it('capitalises the first letter and lower-cases the others', () => {
    expect(capitalize('THE iPhone')).toBe('The iphone');
    expect(capitalize('ǆungla ΟΔΟΣ')).toBe('ǅungla οδος');
    expect(capitalize('ßA')).toBe('Ssa');
    expect(capitalize('')).toBe('');
    expect(capitalize('𐐨𐐀')).toBe('𐐀𐐨');
  });

  it('counts code points and words', () => {
    expect(length('a😀é')).toBe(3);
    expect(countWords(' a  b\u001cc ')).toBe(5);
    expect(countWords('')).toBe(1);
  });
});

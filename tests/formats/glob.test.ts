import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { globMatcher, globRoot, isGlob } from '../../src/formats/glob.js';

describe('a pattern', () => {
  test.each<[string, string, boolean]>([
    ['a.txt', 'a.txt', true],
    ['*.txt', 'a.txt', true],
    ['*.txt', 'b/a.txt', false],
    ['*', '', true],
    ['a?c', 'abc', true],
    ['a?c', 'a/c', false],
    ['?', '\u{1f600}', true],
    ['**/*.txt', 'a.txt', true],
    ['**/*.txt', 'a/b/c.txt', true],
    ['a/**', 'a/b/c', true],
    ['a/**/z', 'a/z', true],
    ['a/**/z', 'a/b/c/z', true],
    ['a/**/z', 'a/b/c', false],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['[^a-c]x', 'dx', true],
    ['[]x', '[]x', true],
    ['[]]x', ']x', true],
    ['[a-]', '-', true],
    ['{a,b}{c,d{e,f}}', 'bdf', true],
    ['{a,b}{c,d{e,f}}', 'bd', false],
    ['train-[0-9][0-9]-of-*.{json,parquet}', 'train-01-of-12.parquet', true],
    ['a.b', 'axb', false],
    ['(a|b)+', 'a', false],
    ['*a*b*c', 'xaybzc', true],
    ['*a*b*c', 'xaybzcd', false],
  ])('%s and %s: %s', (pattern, name, expected) => expect(globMatcher(pattern)(name)).toBe(expected));

  test('is told from a name, and has a root', () => {
    expect(['a/b.txt', 'a/*.txt', 'a[b', '{'].map(isGlob)).toEqual([false, true, true, true]);
    expect(['/a/b/*.txt', '*.txt', '/*', 'a/{b,c}/d', 'a/b'].map(globRoot)).toEqual([
      '/a/b',
      '',
      '',
      'a',
      'a',
    ]);
  });

  test('takes no time that grows with its stars, and no memory with its braces', () => {
    expect(globMatcher(`${'*a'.repeat(200)}b`)('a'.repeat(4000))).toBe(false);
    expect(globMatcher(`${'**/a/'.repeat(200)}b`)('a/'.repeat(2000))).toBe(false);
    expect(() => globMatcher('{a,b}'.repeat(30))).toThrow('alternatives');
  });

  test('without special characters matches itself alone', () => {
    const plain = fc.string({ maxLength: 12 }).filter((text) => !isGlob(text));
    fc.assert(
      fc.property(plain, plain, (a, b) => {
        expect(globMatcher(a)(b)).toBe(a === b);
        expect(globMatcher(a)(a)).toBe(true);
      }),
    );
  });
});

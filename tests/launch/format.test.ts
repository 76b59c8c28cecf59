import { describe, expect, it } from 'vitest';
import { details, dollars, duration, progressLine, share, short } from '../../src/launch/format.js';

describe('numbers for people', () => {
  it.each([
    [0.0314, '0.031 s'],
    [0.0951, '0.1 s'],
    [8.24, '8.2 s'],
    [9.96, '10 s'],
    [59.4, '59 s'],
    [59.6, '1 min 00 s'],
    [185, '3 min 05 s'],
    [3599.7, '1 h 00 min'],
    [7440, '2 h 04 min'],
    [Number.NaN, '?'],
    [Number.POSITIVE_INFINITY, '?'],
  ])('%s seconds are %s', (seconds, text) => expect(duration(seconds)).toBe(text));

  it.each([
    [0, '$0.00'],
    [0.000042, '$0.000042'],
    [0.0042, '$0.0042'],
    [0.096, '$0.096'],
    [0.0996, '$0.10'],
    [0.31, '$0.31'],
    [12.4, '$12.40'],
  ])('%s dollars are %s', (amount, text) => expect(dollars(amount)).toBe(text));

  it.each([
    [870, '870'],
    [999.6, '1.0k'],
    [12_345, '12.3k'],
    [99_960, '100k'],
    [999_600, '1.0M'],
    [4_100_000, '4.1M'],
    [347_000_000, '347M'],
  ])('%s in short is %s', (count, text) => expect(short(count)).toBe(text));
});

describe('progress in words', () => {
  const progress = {
    stage: 'baseline',
    step: 120,
    steps: 600,
    loss: 6.12,
    tokensPerSecond: 2100,
    secondsLeft: 185,
  };

  it('says what is known and nothing else', () => {
    expect(progressLine({ ...progress, dollars: 0.0042 })).toBe(
      'baseline: step 120/600 (20 %), loss 6.120, 2.1k tokens/s, 3 min 05 s left, $0.0042',
    );
    expect(progressLine({ stage: 'corpus', note: 'reading' })).toBe('corpus: reading');
    expect(progressLine({ stage: 'corpus' })).toBe('corpus: working');
    expect(details({ stage: 'x' })).toBe('');
  });

  it('never claims more than was done', () => {
    expect(progressLine({ stage: 'x', step: 599, steps: 600 })).toContain('(99 %)');
    expect(share({ stage: 'x', step: 700, steps: 600 })).toBe(1);
    expect(share({ stage: 'x', step: 0, steps: 0 })).toBeNull();
  });
});

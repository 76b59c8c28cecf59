import { expect, test } from 'vitest';
import { progressOf } from '../../src/corpus/progress.js';
import type { Progress } from '../../src/run/context.js';

const split = (tokens: number) => ({ documents: 1, tokens, bytes: 5, empty: 0 });
const state = (tokens: number, read: number, size: number | null = 40e6) => ({
  source: 'train' as const,
  splits: { train: split(tokens), validation: split(0), test: split(0) },
  read,
  size,
});

test('speed and time left are those of this attempt', () => {
  const shown: Progress[] = [];
  let time = 0;
  const progress = progressOf({ progress: (one) => shown.push(one) }, () => time);
  progress(state(5e6, 20e6));
  time = 2000;
  progress(state(6e6, 24e6));
  expect(shown).toEqual([
    { stage: 'corpus', note: 'train: 20.0 of 40.0 MB read, 5.0 M tokens' },
    {
      stage: 'corpus',
      note: 'train: 24.0 of 40.0 MB read, 6.0 M tokens',
      tokensPerSecond: 5e5,
      secondsLeft: 8,
    },
  ]);
});

test('no time left where nobody knows how much there is', () => {
  const shown: Progress[] = [];
  let time = 0;
  const progress = progressOf({ progress: (one) => shown.push(one) }, () => time++);
  progress(state(0, 0, null));
  time = 1000;
  progress(state(1e6, 9e6, null));
  expect(shown[1]).toEqual({
    stage: 'corpus',
    note: 'train: 9.0 MB read, 1.0 M tokens',
    tokensPerSecond: expect.any(Number),
  });
});

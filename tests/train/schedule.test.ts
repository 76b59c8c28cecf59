import { describe, expect, it } from 'vitest';
import { learningRateAt, warmupSteps } from '../../src/train/schedule.js';

const rates = (schedule: 'constant' | 'linear' | 'cosine', warmupRatio: number, steps = 10) =>
  Array.from({ length: steps }, (_, step) =>
    learningRateAt({ schedule, learningRate: 1, warmupRatio }, step, steps),
  );

describe('learning rates', () => {
  it('warm up for ceil(ratio * steps) steps', () => {
    expect(warmupSteps(0.03, 100)).toBe(3);
    expect(warmupSteps(0.03, 101)).toBe(4);
    expect(warmupSteps(0, 100)).toBe(0);
  });

  // Numbers of transformers' get_cosine_schedule_with_warmup(optimizer, 2, 10).
  it('cosine is that of transformers', () => {
    const expected = [0, 0.5, 1, 0.96194, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.03806];
    rates('cosine', 0.2).forEach((rate, step) => {
      expect(rate).toBeCloseTo(expected[step]!, 6);
    });
  });

  it('linear falls to 0 at the end of the horizon', () => {
    expect(rates('linear', 0.2)).toEqual([0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]);
  });

  it('constant stays after its warm-up, and from the first step without one', () => {
    expect(rates('constant', 0, 3)).toEqual([1, 1, 1]);
    expect(rates('constant', 0.5, 4)).toEqual([0, 0.5, 1, 1]);
  });

  it('a horizon that is all warm-up never divides by zero', () => {
    expect(rates('cosine', 1, 2)).toEqual([0, 0.5]);
    expect(learningRateAt({ schedule: 'cosine', learningRate: 1, warmupRatio: 1 }, 2, 2)).toBe(1);
  });
});

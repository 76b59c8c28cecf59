import { describe, expect, it } from 'vitest';
import { RequestError } from '../../src/errors.js';
import { backboneWeights, type GammaRequest } from '../../src/merge/gamma.js';

/** S-steps of four submodels, and tokens in the same proportion. */
const work = [4200, 3000, 2500, 1500].map((steps) => ({ steps, tokens: steps * 16 * 1024 }));
const weights = (mode: GammaRequest['mode'], lambdaEta = 0) => backboneWeights(work, { mode, lambdaEta });
const rounded = (values: readonly number[], digits: number) =>
  values.map((value) => Number(value.toFixed(digits)));

describe('gamma', () => {
  it('uniform: 1 / E', () => {
    expect(weights('uniform')).toEqual([0.25, 0.25, 0.25, 0.25]);
  });

  it('samples: shares of the tokens, not of the steps', () => {
    expect(rounded(weights('samples'), 3)).toEqual([0.375, 0.268, 0.223, 0.134]);
    const padded = [
      { steps: 10, tokens: 300 },
      { steps: 10, tokens: 100 },
    ];
    expect(backboneWeights(padded, { mode: 'samples', lambdaEta: 0 })).toEqual([0.75, 0.25]);
  });

  it.each([
    [1e-6, 4, [0.2504, 0.25, 0.2499, 0.2497]],
    [1e-4, 3, [0.286, 0.254, 0.241, 0.218]],
    [1e-3, 3, [0.645, 0.194, 0.118, 0.043]],
  ])(
    'wpsgd with lambda eta = %d: exponential in the steps by which a submodel is behind',
    (lambdaEta, digits, expected) => {
      expect(rounded(weights('wpsgd', lambdaEta), digits)).toEqual(expected);
    },
  );

  it('wpsgd without decay, and equal shares, are uniform; a submodel far behind has no weight', () => {
    expect(weights('wpsgd', 0)).toEqual(weights('uniform'));
    const equal = work.map(() => work[0]!);
    for (const mode of ['samples', 'wpsgd'] as const)
      expect(backboneWeights(equal, { mode, lambdaEta: 1e-3 })).toEqual(weights('uniform'));
    expect(weights('wpsgd', 0.9)).toEqual([1, 0, 0, 0]);
  });

  it('given numbers: exactly these', () => {
    expect(weights([1, 0, 0, 0])).toEqual([1, 0, 0, 0]);
    expect(weights([0.1, 0.2, 0.3, 0.4])).toEqual([0.1, 0.2, 0.3, 0.4]);
    const thirds = backboneWeights(work.slice(1), { mode: [1 / 3, 1 / 3, 1 / 3], lambdaEta: 0 });
    expect(thirds).toEqual([1 / 3, 1 / 3, 1 / 3]);
  });

  it.each([
    ['another length', [1, 0, 0], '3 numbers'],
    ['another sum', [0.5, 0.5, 0.5, 0], 'sum to 1.5'],
    ['a sum that is nearly 1', [0.3333333, 0.3333333, 0.3333333, 0], 'sum to 0.99999989'],
    ['what is no number', [Number.NaN, 0, 0, 1], 'sum to NaN'],
  ])('refuses %s', (_, mode, found) => {
    const refused = () => weights(mode);
    expect(refused).toThrow(RequestError);
    expect(refused).toThrow(
      expect.objectContaining({ key: 'merge.gamma', found: expect.stringContaining(found) }),
    );
  });

  it('refuses shares of nothing, and a lambda eta with which a step does not contract', () => {
    const idle = [1, 2].map(() => ({ steps: 0, tokens: 0 }));
    expect(() => backboneWeights(idle, { mode: 'samples', lambdaEta: 0 })).toThrow(
      expect.objectContaining({ key: 'merge.gamma', exitStatus: 2 }),
    );
    for (const lambdaEta of [1, 2, -0.1, Number.NaN])
      expect(() => weights('wpsgd', lambdaEta)).toThrow(expect.objectContaining({ key: 'merge.lambdaEta' }));
  });

  it('every mode sums to 1', () => {
    for (const mode of ['uniform', 'samples', 'wpsgd'] as const)
      expect(weights(mode, 1e-4).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
  });
});

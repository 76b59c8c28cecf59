import { describe, expect, it } from 'vitest';
import type { ParameterStore } from '../../src/model/store.js';
import * as torch from '../../src/torch/index.js';
import { AdamW, type AdamWOptions, globalGradientNorm } from '../../src/train/optimizer.js';
import { random, withModel } from '../model/fixtures.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();
const options: AdamWOptions = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.3, clipNorm: 0.5 };
const name = 'model.layers.1.mlp.experts.2.up_proj.weight';
const read = (store: ParameterStore, parameter = name) =>
  torch.scope(() => store.parameter(parameter).toNumbers());

function setGradients(store: ParameterStore, seed: number): void {
  const next = random(seed);
  store.forEachBlock(({ training }) => {
    const values = Float32Array.from({ length: training!.gradients.numel }, () => next() - 0.5);
    training!.gradients.copy_(torch.tensor(values));
  });
}

const allGradients = (store: ParameterStore) =>
  store.blocks.flatMap((block) => torch.scope(() => block.training!.gradients.toNumbers()));

/** The textbook update of one parameter, in float64. */
function reference(
  weights: number[],
  gradients: number[][],
  norms: number[],
  o: AdamWOptions,
  rate: number,
): number[] {
  return weights.map((start, i) => {
    let [w, m, v] = [start, 0, 0];
    gradients.forEach((gradient, step) => {
      const g = gradient[i]! * (o.clipNorm === null ? 1 : Math.min(1, o.clipNorm / (norms[step]! + 1e-6)));
      w *= 1 - rate * o.weightDecay;
      m = o.beta1 * m + (1 - o.beta1) * g;
      v = o.beta2 * v + (1 - o.beta2) * g * g;
      const [a, b] = [1 - o.beta1 ** (step + 1), 1 - o.beta2 ** (step + 1)];
      w -= (rate * (m / a)) / (Math.sqrt(v / b) + o.epsilon);
    });
    return w;
  });
}

describe('AdamW', () => {
  it.each([
    ['clipping', options],
    ['no clipping', { ...options, clipNorm: null }],
    ['a norm that never clips', { ...options, clipNorm: 1e6 }],
  ])('three steps with %s are the textbook update', (_, chosen) => {
    withModel({}, { training: true }, ({ store }) => {
      const adam = new AdamW(store, chosen);
      const start = read(store);
      const [gradients, norms]: [number[][], number[]] = [[], []];
      for (const seed of [1, 2, 3]) {
        setGradients(store, seed);
        gradients.push(torch.scope(() => store.gradient(name)!.toNumbers()));
        norms.push(Math.hypot(...allGradients(store)));
        const { gradientNorm, updated } = adam.step(1e-3);
        expect(updated).toBe(true);
        expect(gradientNorm / norms.at(-1)!).toBeCloseTo(1, 5);
      }
      const expected = reference(start, gradients, norms, chosen, 1e-3);
      const actual = read(store);
      const size = Math.hypot(...expected.map((w, i) => w - start[i]!));
      const error = Math.hypot(...expected.map((w, i) => w - actual[i]!));
      expect(error / size).toBeLessThan(1e-4);
      expect(store.step).toBe(3);
    });
  });

  it('decays and moves every trained parameter, norms and biases too, and not the router row of a submodel', () => {
    withModel({ num_experts: 1, num_experts_per_tok: 1 }, { training: true }, ({ store }) => {
      const before = new Map(store.parameters.map((p) => [p.name, read(store, p.name)]));
      setGradients(store, 1);
      new AdamW(store, options).step(1e-2);
      for (const { name: parameter, trained } of store.parameters) {
        const same = read(store, parameter).join() === before.get(parameter)!.join();
        expect([parameter, same]).toEqual([parameter, !trained]);
      }
    });
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])(
    'a gradient of %s changes nothing and is reported',
    (value) => {
      withModel({}, { training: true }, ({ store }) => {
        setGradients(store, 1);
        torch.scope(() => void store.gradient(name)!.narrow(0, 0, 1).fill_(value));
        const before = read(store, 'lm_head.weight');
        const result = new AdamW(store, options).step(1e-3);
        expect(result.updated).toBe(false);
        expect(Number.isFinite(result.gradientNorm)).toBe(false);
        expect(read(store, 'lm_head.weight')).toEqual(before);
        expect(store.step).toBe(0);
      });
    },
  );

  it('the global norm is that of all gradients together', () => {
    withModel({}, { training: true }, ({ store }) => {
      setGradients(store, 5);
      expect(globalGradientNorm(store) / Math.hypot(...allGradients(store))).toBeCloseTo(1, 5);
    });
  });

  it('refuses a store that keeps no gradients', () => {
    withModel({}, {}, ({ store }) => {
      expect(() => new AdamW(store, options)).toThrow(RangeError);
    });
  });
});

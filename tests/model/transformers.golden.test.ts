/** Logits, losses, gradients and AdamW against transformers' Qwen2MoeForCausalLM (tests/golden/make_model.py). */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { toDevice } from '../../src/model/batch.js';
import { Decoder } from '../../src/model/decoder.js';
import type { ParameterStore } from '../../src/model/store.js';
import * as torch from '../../src/torch/index.js';
import { lossAndGradients } from '../../src/train/backward.js';
import { AdamW, type AdamWOptions } from '../../src/train/optimizer.js';
import { expectNoLeaks } from '../torch/leaks.js';
import { GoldenCase, goldenCases, relativeError } from './golden.js';

const modes = ['graph', 'blocks'] as const;
type Mode = (typeof modes)[number];

expectNoLeaks();

/** Runs `body` with a fresh store of the case, freed afterwards. */
function withStore<T>(
  golden: GoldenCase,
  outputRouterLogits: boolean,
  body: (store: ParameterStore, model: Decoder) => T,
): T {
  const store = golden.store({ outputRouterLogits });
  try {
    return torch.scope(() => body(store, new Decoder(store)));
  } finally {
    store.dispose();
  }
}

/** A tensor of the store as numbers, or null where there is none. */
function numbers(
  store: ParameterStore,
  kind: 'weights' | 'gradients',
  name: string,
): ArrayLike<number> | null {
  const view = store.view(kind, name);
  try {
    return view && (view.toArray() as Float32Array);
  } finally {
    view?.dispose();
  }
}

/** Loss and gradients of one golden batch, as one micro-batch. */
function step(model: Decoder, golden: GoldenCase, batch: number, mode: Mode) {
  const rows = golden.batch(batch);
  return torch.scope(() =>
    lossAndGradients(model, toDevice(rows, 'cpu'), { globalTargets: rows.targets, mode }),
  );
}

/** What three steps of AdamW change, by parameter; `each` is told what every step found. */
function updates(
  golden: GoldenCase,
  mode: Mode,
  change: Partial<AdamWOptions> & { firstStep?: number } = {},
  each: (step: number, loss: number, norm: number) => void = () => {},
): Map<string, Float64Array> {
  return withStore(golden, true, (store, model) => {
    const { learningRate, losses, gradientNorms: _, ...options } = golden.record.adamw;
    const names = golden.names('after.');
    const before = new Map(names.map((name) => [name, numbers(store, 'weights', name)!]));
    const optimizer = new AdamW(store, { ...options, ...change });
    store.step = change.firstStep ?? 0;
    losses.forEach((__, index) => {
      store.zeroGrad();
      const { loss } = step(model, golden, index, mode);
      each(index, loss, optimizer.step(learningRate).gradientNorm);
    });
    return new Map(
      names.map((name) => {
        const after = numbers(store, 'weights', name)!;
        return [name, Float64Array.from(before.get(name)!, (value, i) => after[i]! - value)];
      }),
    );
  });
}

/** What three steps of torch.optim.AdamW change. */
function expectedUpdates(golden: GoldenCase): Map<string, Float64Array> {
  return withStore(golden, true, (store) => {
    return new Map(
      golden.names('after.').map((name) => {
        const [before, after] = [numbers(store, 'weights', name)!, golden.floats(`after.${name}`)];
        return [name, Float64Array.from(after, (value, i) => value - before[i]!)];
      }),
    );
  });
}

describe.each(goldenCases)('%s', (name) => {
  let golden: GoldenCase;
  beforeAll(() => {
    golden = new GoldenCase(name);
  });
  afterAll(() => golden.close());

  test('has the parameters of the file', () => {
    withStore(golden, true, (store) => {
      const expected = golden.names('after.').sort();
      expect(store.parameters.map((parameter) => parameter.name).sort()).toEqual(expected);
    });
  });

  test('logits', () => {
    withStore(golden, true, (_, model) => {
      const rows = golden.batch(0);
      const logits = model.logits(toDevice(rows, 'cpu'));
      expect(logits.shape).toEqual([rows.rows, rows.sequenceLength, golden.config.vocabSize]);
      const { vocabSize } = golden.config;
      const known = (logits.toArray() as Float32Array).map((value, i) =>
        rows.valid?.[Math.floor(i / vocabSize)] === 0 ? 0 : value,
      );
      expect(relativeError(known, golden.floats('logits'))).toBeLessThan(1e-5);
    });
  });

  describe.each(modes)('backward by %s', (mode) => {
    test.each(['crossEntropy', 'total'] as const)('gradients and value of the loss: %s', (kind) => {
      withStore(golden, kind === 'total', (store, model) => {
        const result = step(model, golden, 0, mode);
        const { loss } = golden.record;
        expect(relativeError([result.loss], [loss[kind]])).toBeLessThan(1e-5);
        expect(relativeError([result.crossEntropy], [loss.crossEntropy])).toBeLessThan(1e-5);
        if (kind === 'crossEntropy') expect(result.balanceLoss).toBeNull();
        else expect(relativeError([result.balanceLoss!], [loss.balance])).toBeLessThan(1e-5);
        const prefix = `gradient.${kind}.`;
        expect(golden.names(prefix).length).toBe(store.parameters.length);
        for (const parameter of golden.names(prefix)) {
          const expected = golden.floats(prefix + parameter);
          const actual = numbers(store, 'gradients', parameter) ?? new Float32Array(expected.length);
          expect(relativeError(actual, expected), parameter).toBeLessThan(1e-4);
          expect(wrongZeros(actual, expected), `zeros of ${parameter}`).toBe(0);
        }
      });
    });

    test('three steps of AdamW', () => {
      const { losses, gradientNorms, clipNorm } = golden.record.adamw;
      const actual = updates(golden, mode, {}, (index, loss, norm) => {
        expect(relativeError([loss], [losses[index]!])).toBeLessThan(1e-5);
        expect(relativeError([norm], [gradientNorms[index]!])).toBeLessThan(1e-5);
        expect(norm).toBeGreaterThan(clipNorm);
      });
      for (const [parameter, expected] of expectedUpdates(golden)) {
        expect(relativeError(actual.get(parameter)!, expected), parameter).toBeLessThan(1e-3);
      }
    });
  });
});

/** How many numbers are not 0 where the expected one is exactly 0. */
function wrongZeros(actual: ArrayLike<number>, expected: Float32Array): number {
  return expected.filter((value, i) => value === 0 && actual[i] !== 0).length;
}

describe('the comparison of updates notices', () => {
  const golden = new GoldenCase('top2');
  afterAll(() => golden.close());

  test.each([
    ['a missing decay', { weightDecay: 0 }],
    ['missing clipping', { clipNorm: null }],
    ['a missing bias correction', { firstStep: 1_000_000 }],
  ])('%s', (_, change) => {
    const actual = updates(golden, 'graph', change);
    for (const [parameter, expected] of expectedUpdates(golden)) {
      expect(relativeError(actual.get(parameter)!, expected), parameter).toBeGreaterThan(1e-2);
    }
  });
});

test('the router row of a submodel stays as it is', () => {
  const golden = new GoldenCase('one-expert');
  const moved = updates(golden, 'graph');
  golden.close();
  const routers = [...moved.keys()].filter((name) => name.endsWith('.mlp.gate.weight'));
  expect(routers).toHaveLength(golden.config.numHiddenLayers);
  for (const name of routers) expect(moved.get(name)!.every((value) => value === 0)).toBe(true);
});

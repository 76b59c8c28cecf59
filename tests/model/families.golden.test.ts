/**
 * Every family against expected numbers: those of transformers (tests/golden/make_families.py), and of LLaMA-MoE,
 * which it does not have, from its definition in float64 (make_llama_moe.py).
 */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { readJson } from '../../src/formats/atomic.js';
import { toDevice } from '../../src/model/batch.js';
import { Decoder } from '../../src/model/decoder.js';
import type { ParameterStore, StoreOptions } from '../../src/model/store.js';
import * as torch from '../../src/torch/index.js';
import { lossAndGradients } from '../../src/train/backward.js';
import { expectNoLeaks } from '../torch/leaks.js';
import { GoldenTensors, relativeError } from './golden.js';

expectNoLeaks();

const folder = (name: string): string => fileURLToPath(new URL(`../golden/${name}`, import.meta.url));
const cases = ['families', 'llama-moe'].flatMap((group) =>
  readdirSync(folder(group)).map((name) => `${group}/${name}`),
);

const recordSchema = z.looseObject({
  loss: z.object({ crossEntropy: z.number(), total: z.number().optional(), balance: z.number().optional() }),
  relativeErrorOfBfloat16: z
    .object({ logits: z.number(), losses: z.number(), gradients: z.number() })
    .optional(),
});

/** How often transformers' own error in bfloat16 ours may be. */
const HALF = 1.25;

describe.each(cases)('%s', (name) => {
  const record = readJson(`${folder(name)}/expected.json`, recordSchema);
  const kinds =
    record.loss.total === undefined ? (['crossEntropy'] as const) : (['crossEntropy', 'total'] as const);
  let golden: GoldenTensors;
  beforeAll(() => {
    golden = new GoldenTensors(folder(name));
  });
  afterAll(() => golden.close());

  /** Runs `body` with the model of the case and frees it. */
  function withModel<T>(balance: boolean, options: StoreOptions, body: (model: Decoder) => T): T {
    const store = golden.store({ outputRouterLogits: balance }, options);
    try {
      return torch.scope(() => body(new Decoder(store)));
    } finally {
      store.dispose();
    }
  }

  function step(model: Decoder, mode: 'graph' | 'blocks') {
    const rows = golden.batch(0);
    const noise = golden.has('noise') ? noiseOf(golden.floats('noise'), model) : undefined;
    return lossAndGradients(model, toDevice(rows, 'cpu'), { globalTargets: rows.targets, mode, noise });
  }

  function logitsOf(model: Decoder): Float32Array {
    const { valid, ...rows } = golden.batch(0);
    const logits = model.logits(toDevice({ ...rows, valid }, 'cpu')).to({ dtype: 'float32' });
    const { vocabSize } = golden.config;
    return (logits.toArray() as Float32Array).map((value, i) =>
      valid?.[Math.floor(i / vocabSize)] === 0 ? 0 : value,
    );
  }

  test('logits', () => {
    withModel(false, {}, (model) => {
      expect(relativeError(logitsOf(model), golden.floats('logits'))).toBeLessThan(1e-5);
    });
  });

  describe.each(kinds)('loss: %s', (kind) => {
    test.each(['graph', 'blocks'] as const)('value and gradients, backward by %s', (mode) => {
      withModel(kind === 'total', {}, (model) => {
        const result = step(model, mode);
        expect(relativeError([result.loss], [record.loss[kind]!])).toBeLessThan(1e-5);
        if (kind === 'total') {
          expect(relativeError([result.balanceLoss!], [record.loss.balance!])).toBeLessThan(1e-5);
        }
        const prefix = `gradient.${kind}.`;
        const names = golden.names(prefix);
        expect(names.sort()).toEqual(model.store.parameters.map((parameter) => parameter.name).sort());
        for (const parameter of names) {
          const expected = golden.floats(prefix + parameter);
          const error = relativeError(gradient(model.store, parameter), expected);
          expect(error, parameter).toBeLessThan(1e-4);
        }
      });
    });
  });

  test.runIf(record.relativeErrorOfBfloat16)('bfloat16 is as near to float32 as that of transformers', () => {
    const theirs = record.relativeErrorOfBfloat16!;
    const kind = kinds.at(-1)!;
    withModel(kind === 'total', { dtype: 'bfloat16' }, (model) => {
      expect(relativeError(logitsOf(model), golden.floats('logits'))).toBeLessThan(HALF * theirs.logits);
      step(model, 'blocks');
      const names = golden.names(`gradient.${kind}.`);
      const ours = names.flatMap((parameter) => [...gradient(model.store, parameter)]);
      const expected = names.flatMap((parameter) => [...golden.floats(`gradient.${kind}.${parameter}`)]);
      expect(relativeError(ours, expected)).toBeLessThan(HALF * theirs.gradients);
    });
  });
});

/** A parameter's gradient in float32. */
function gradient(store: ParameterStore, name: string): Float32Array {
  const values = store.gradient(name)!.to({ dtype: 'float32' }).toArray();
  return values as Float32Array;
}

/** The stored noise [layers, N, E] by layer. */
function noiseOf(values: Float32Array, { config }: Decoder): (layer: number) => torch.Tensor {
  const { numHiddenLayers, numExperts } = config;
  const size = values.length / numHiddenLayers;
  return (layer) =>
    torch.tensor(values.subarray(layer * size, (layer + 1) * size), [size / numExperts, numExperts]);
}

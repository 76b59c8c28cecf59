import { describe, expect, it } from 'vitest';
import { type TokenRows, toDevice } from '../../src/model/batch.js';
import type { Decoder } from '../../src/model/decoder.js';
import * as torch from '../../src/torch/index.js';
import { type GradientRequest, type LossResult, lossAndGradients } from '../../src/train/backward.js';
import { random, sliceRows, tokenRows, withModel } from '../model/fixtures.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();
const padded = tokenRows([11, 5, 8, 11], 11);

function run(model: Decoder, rows: TokenRows, request: Partial<GradientRequest> = {}): LossResult {
  const all = { globalTargets: rows.targets, mode: 'graph' as const, ...request };
  return torch.scope(() => lossAndGradients(model, toDevice(rows, 'cpu'), all));
}

function gradients(model: Decoder): Map<string, number[]> {
  const trained = model.store.parameters.filter((parameter) => parameter.trained);
  return new Map(
    trained.map(({ name }) => [name, torch.scope(() => model.store.gradient(name)!.toNumbers())]),
  );
}

/** Largest relative difference (2-norm) of two sets of gradients. */
function difference(a: Map<string, number[]>, b: Map<string, number[]>): number {
  const errors = [...a].map(([name, values]) => {
    const others = b.get(name)!;
    return Math.hypot(...values.map((x, i) => x - others[i]!)) / Math.hypot(...others);
  });
  return Math.max(...errors);
}

const variants = {
  'top-2 of 4': {},
  'top-k = E': { num_experts_per_tok: 4, norm_topk_prob: false },
  'one expert': { num_experts: 1, num_experts_per_tok: 1 },
  'tied embeddings': { tie_word_embeddings: true },
  'a dense layer, no biases': { mlp_only_layers: [0], qkv_bias: false, norm_topk_prob: false },
};

describe.each(Object.entries(variants))('%s', (_, changes) => {
  it('block by block gives the gradients of the whole graph', () => {
    withModel(changes, { training: true }, (model) => {
      const whole = run(model, padded, { mode: 'graph' });
      const expected = gradients(model);
      model.store.zeroGrad();
      expect(run(model, padded, { mode: 'blocks' })).toEqual(whole);
      expect(difference(gradients(model), expected)).toBeLessThan(1e-6);
    });
  });

  it('gradients are those of the loss, by finite differences in float64', () => {
    withModel(changes, { training: true, dtype: 'float64' }, (model) => {
      run(model, padded);
      const next = random(3);
      for (const { trained, training } of model.store.blocks) {
        torch.scope(() => {
          const direction = torch.tensor(Float64Array.from({ length: trained.numel }, () => next() - 0.5));
          const slope = training!.gradients.dot(direction).item();
          const kept = model.store.blocks.map((block) => block.training!.gradients.clone());
          const at = (step: number): number => {
            trained.add_(direction, { alpha: step });
            const { loss } = run(model, padded);
            trained.sub_(direction, { alpha: step });
            return loss;
          };
          const step = 1e-6;
          expect((at(step) - at(-step)) / (2 * step) / slope).toBeCloseTo(1, 5);
          model.store.blocks.forEach((block, index) => {
            block.training!.gradients.copy_(kept[index]!);
          });
        });
      }
    });
  });
});

it('the row of the padding token receives no gradient as an input, and does as an output', () => {
  const row = (changes: Record<string, unknown>) =>
    withModel(changes, { training: true }, (model) => {
      run(model, padded);
      return gradients(model).get('model.embed_tokens.weight')!.slice(0, 16);
    });
  expect(padded.inputIds).toContain(0);
  expect(Math.hypot(...row({}))).toBeGreaterThan(0);
  expect(new Set(row({ pad_token_id: 0 }))).toEqual(new Set([0]));
  expect(Math.hypot(...row({ pad_token_id: 0, tie_word_embeddings: true }))).toBeGreaterThan(0);
});

describe('a step is a global batch', () => {
  it('1 x 4, 2 x 2 and 4 x 1 give the same gradient, padded rows included', () => {
    withModel({ output_router_logits: false }, { training: true }, (model) => {
      const whole = run(model, padded);
      const expected = gradients(model);
      for (const size of [1, 2]) {
        model.store.zeroGrad();
        let loss = 0;
        for (let first = 0; first < 4; first += size) {
          loss += run(model, sliceRows(padded, first, size), { globalTargets: padded.targets }).loss;
        }
        expect(loss).toBeCloseTo(whole.loss, 5);
        expect(difference(gradients(model), expected)).toBeLessThan(1e-5);
      }
    });
  });

  it('what stands in the padding changes neither loss nor gradients', () => {
    withModel({}, { training: true }, (model) => {
      const first = run(model, padded);
      const expected = gradients(model);
      model.store.zeroGrad();
      const inputIds = padded.inputIds.map((id, i) => (padded.valid![i] === 0 ? 17 : id));
      expect(run(model, { ...padded, inputIds }).loss).toBeCloseTo(first.loss, 6);
      expect(difference(gradients(model), expected)).toBeLessThan(1e-5);
    });
  });

  it('repeats bit for bit', () => {
    const rows = tokenRows([64, 64, 64, 64], 64);
    const once = () =>
      withModel({ hidden_size: 64, moe_intermediate_size: 64 }, { training: true }, (model) => {
        const result = run(model, rows);
        return { result, gradients: gradients(model) };
      });
    expect(once()).toEqual(once());
  });

  it('gradients add up until zeroGrad', () => {
    withModel({}, { training: true }, (model) => {
      run(model, padded);
      const once = gradients(model);
      run(model, padded);
      const half = new Map(
        [...gradients(model)].map(([name, values]) => [name, values.map((value) => value / 2)]),
      );
      expect(difference(half, once)).toBeLessThan(1e-6);
    });
  });
});

describe('the balance loss', () => {
  it('counts with its coefficient and share, and only when output_router_logits says so', () => {
    const loss = (changes: Record<string, unknown>, request: Partial<GradientRequest> = {}) =>
      withModel(changes, { training: true }, (model) => run(model, padded, request));
    const off = loss({ output_router_logits: false });
    expect(off.balanceLoss).toBeNull();
    expect(off.loss).toBe(off.crossEntropy);
    const on = loss({});
    expect(on.crossEntropy).toBe(off.crossEntropy);
    expect(on.loss).toBeCloseTo(on.crossEntropy + 0.1 * on.balanceLoss!, 10);
    expect(loss({}, { balanceScale: 0.5 }).loss).toBeCloseTo(on.crossEntropy + 0.05 * on.balanceLoss!, 10);
  });

  it('is K at perfect balance, E for top-k = E and 1 with one expert', () => {
    const value = (changes: Record<string, unknown>) =>
      withModel(changes, { training: true }, (model) => run(model, padded).balanceLoss);
    expect(value({ num_experts_per_tok: 4 })).toBeCloseTo(4, 5);
    expect(value({ num_experts: 1, num_experts_per_tok: 1 })).toBe(1);
    expect(value({})).toBeGreaterThan(1.9);
  });

  it('tells how many pairs each expert took', () => {
    withModel({}, { training: true }, (model) => {
      const { expertTokens } = run(model, padded);
      expect(expertTokens.map((layer) => layer.reduce((a, b) => a + b))).toEqual([70, 70]);
    });
  });
});

describe('the hook', () => {
  it.each(['graph', 'blocks'] as const)(
    '%s: is called once per block from the head down, its gradient complete',
    (mode) => {
      withModel({ tie_word_embeddings: true }, { training: true }, (model) => {
        run(model, padded, { mode });
        const final = gradients(model);
        model.store.zeroGrad();
        const calls: number[] = [];
        const onBlockGradient = (block: number) => {
          calls.push(block);
          const now = gradients(model);
          for (const { name } of model.store.blocks[block]!.layout.parameters) {
            expect(now.get(name)).toEqual(final.get(name));
          }
        };
        run(model, padded, { mode, onBlockGradient });
        expect(calls).toEqual([3, 2, 1, 0]);
      });
    },
  );

  it('block by block: a block may change its weights as soon as its gradient is complete', () => {
    withModel({}, { training: true }, (model) => {
      run(model, padded);
      const expected = gradients(model);
      model.store.zeroGrad();
      const onBlockGradient = (block: number) =>
        torch.scope(() => void model.store.blocks[block]!.weights.zero_());
      run(model, padded, { mode: 'blocks', onBlockGradient });
      expect(difference(gradients(model), expected)).toBeLessThan(1e-6);
    });
  });
});

it('refuses a store that keeps no gradients', () => {
  withModel({}, {}, (model) => {
    expect(() => run(model, padded)).toThrow(RangeError);
  });
});

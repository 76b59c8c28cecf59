import { describe, expect, it } from 'vitest';
import { toDevice } from '../../src/model/batch.js';
import type { Decoder, ForwardOptions } from '../../src/model/decoder.js';
import * as torch from '../../src/torch/index.js';
import { expectNoLeaks } from '../torch/leaks.js';
import { tokenRows, withModel } from './fixtures.js';

expectNoLeaks();
const rows = tokenRows([9, 9, 9], 9);
const batch = () => toDevice(rows, 'cpu');
const logits = (model: Decoder, options: ForwardOptions = {}) =>
  torch.scope(() => model.logits(batch(), options).toNumbers());
const distance = (a: number[], b: number[]) => Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));

describe('the decoder', () => {
  it('is causal: a later token changes no earlier logits', () => {
    withModel({}, {}, (model) => {
      const changed = { ...rows, inputIds: rows.inputIds.slice() };
      changed.inputIds[8] = (changed.inputIds[8]! + 1) % 60;
      const other = torch.scope(() => model.logits(toDevice(changed, 'cpu')).toNumbers());
      const first = logits(model);
      expect(distance(first.slice(0, 8 * 60), other.slice(0, 8 * 60))).toBe(0);
      expect(distance(first.slice(8 * 60, 9 * 60), other.slice(8 * 60, 9 * 60))).toBeGreaterThan(0);
    });
  });

  it('gives a row the same logits alone and among others', () => {
    withModel({}, {}, (model) => {
      const alone = {
        ...rows,
        rows: 1,
        inputIds: rows.inputIds.slice(9, 18),
        labels: rows.labels.slice(9, 18),
        tokens: 9,
      };
      const single = torch.scope(() => model.logits(toDevice(alone, 'cpu')).toNumbers());
      expect(distance(single, logits(model).slice(9 * 60, 18 * 60))).toBeLessThan(1e-5);
    });
  });

  it('top-k = E by all experts equals top-k = E by forcing, where the router is flat', () => {
    withModel({ num_experts_per_tok: 4 }, {}, (model) => {
      torch.scope(() => {
        for (const layer of [0, 1]) model.store.parameter(`model.layers.${layer}.mlp.gate.weight`).zero_();
        const forcedExperts = torch.tensor([2, 0, 3, 1], [1, 4], { dtype: 'int64' }).expand([27, 4]);
        expect(distance(logits(model), logits(model, { forcedExperts }))).toBeLessThan(1e-5);
      });
    });
  });

  it('a forced expert is the only one that acts', () => {
    withModel({}, {}, (model) => {
      torch.scope(() => {
        const forced = (expert: number) => ({ forcedExperts: torch.full([27], expert, { dtype: 'int64' }) });
        const before = [logits(model, forced(1)), logits(model, forced(2))];
        for (const layer of [0, 1])
          model.store.parameter(`model.layers.${layer}.mlp.experts.2.down_proj.weight`).zero_();
        expect(distance(before[0]!, logits(model, forced(1)))).toBe(0);
        expect(distance(before[1]!, logits(model, forced(2)))).toBeGreaterThan(1e-3);
      });
    });
  });

  it('with one expert computes what the whole model does when every token is forced to it', () => {
    withModel({}, {}, (model) => {
      withModel({ num_experts: 1, num_experts_per_tok: 1 }, {}, (submodel) => {
        torch.scope(() => {
          for (const { name } of submodel.store.parameters) {
            const original = model.store.parameter(name.replace('.experts.0.', '.experts.3.'));
            const target = submodel.store.parameter(name);
            target.copy_(original.narrow(0, 0, target.shape[0]!));
          }
          const forcedExperts = torch.full([27], 3, { dtype: 'int64' });
          expect(distance(logits(submodel), logits(model, { forcedExperts }))).toBeLessThan(1e-5);
        });
      });
    });
  });

  it('an expert that no token takes changes nothing', () => {
    withModel({}, {}, (model) => {
      torch.scope(() => {
        const options = { forcedExperts: torch.tensor([0, 3], [1, 2], { dtype: 'int64' }).expand([27, 2]) };
        const before = logits(model, options);
        for (const layer of [0, 1])
          model.store.parameter(`model.layers.${layer}.mlp.experts.1.up_proj.weight`).fill_(Number.NaN);
        expect(distance(before, logits(model, options))).toBe(0);
      });
    });
  });
});

describe('router statistics', () => {
  it('count every unpadded (token, slot) pair and sum probabilities of unpadded tokens', () => {
    withModel({}, {}, (model) => {
      torch.scope(() => {
        const padded = toDevice(tokenRows([9, 4, 6], 9), 'cpu');
        for (const { counts, probabilities } of torch.noGrad(() => model.forward(padded).routing)) {
          expect(counts.sum().item()).toBe(2 * 19);
          expect(probabilities.sum().item()).toBeCloseTo(19, 4);
        }
      });
    });
  });

  it('router inputs are handed out where asked for and give the router its logits', () => {
    withModel({ mlp_only_layers: [0] }, {}, (model) => {
      torch.scope(() => {
        const { routerInputs, routing } = torch.noGrad(() =>
          model.forward(batch(), { collectRouterInputs: true }),
        );
        expect(routerInputs.map((input) => [...input.shape])).toEqual([[27, 16]]);
        const gate = model.store.parameter('model.layers.1.mlp.gate.weight');
        const [, chosen] = routerInputs[0]!.mm(gate.t()).topk(2);
        const counts = [0, 1, 2, 3].map((expert) => chosen.eq(expert).sum().item());
        expect(routing[0]!.counts.toNumbers()).toEqual(counts);
        expect(model.forward(batch()).routerInputs).toEqual([]);
      });
    });
  });
});

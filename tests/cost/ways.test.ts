import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { bill } from '../../src/cost/bill.js';
import type { Stock } from '../../src/cost/devices.js';
import { planRecipe } from '../../src/cost/plan.js';
import type { Work } from '../../src/cost/projection.js';
import { cheapest, fastest, stagePlans, waysOf } from '../../src/cost/ways.js';
import { loadRecipe } from '../../src/recipe/load.js';
import { planDevices } from '../../src/report/ways.js';

const paper = fileURLToPath(new URL('../../recipes/paper-qwen-c4.yaml', import.meta.url));
const { recipe } = loadRecipe(paper, [], { files: 'ignore' });
const { config } = planRecipe(recipe);
const work: Work = {
  config,
  precision: recipe.train.precision,
  batchSize: 16,
  sequenceLength: 1024,
  submodelSteps: [4200, 4200, 4200, 4200],
  finetuneSteps: 4100,
  baselineSteps: 21150,
};

const stock = (
  name: string,
  count: number,
  dollarsPerHour: number,
  memoryGB: number,
  tflops: number,
): Stock => ({
  ...{ name, count, dollarsPerHour, memoryGB, speed: 'given' },
  tflops: { bfloat16: tflops, float32: null },
});
const small = stock('small', 4, 0.35, 20, 66);
const large = stock('large', 1, 2.28, 80, 125);

describe('what fits where', () => {
  it('a submodel fits the small card and the whole model does not, by its bytes', () => {
    const { submodel, finetune } = stagePlans(work, [small, large]);
    expect(submodel.devices.map(({ fits }) => fits)).toEqual([true, true]);
    expect(finetune.devices.map(({ fits }) => fits)).toEqual([false, true]);
    expect(finetune.devices[0]!.reason).toMatch(/^needs 2\d\.\d GB of 20 GB$/);
    // Weights and two moments in bfloat16 of 2,686,420,992 parameters.
    expect(finetune.checkpointBytes).toBe(6 * 2_686_420_992);
  });

  it('a device without a peak in the precision of the recipe is none', () => {
    const { submodel } = stagePlans({ ...work, precision: { ...work.precision, compute: 'float32' } }, [
      large,
    ]);
    expect(submodel.devices[0]).toMatchObject({ fits: false, hours: null });
    expect(waysOf({ ...work, precision: { ...work.precision, compute: 'float32' } }, [large])).toEqual([]);
  });
});

describe('the ways', () => {
  const ways = waysOf(work, [small, large]);
  const find = (way: string, first?: string) =>
    ways.find((one) => one.way === way && (first === undefined || one.submodels?.device === first))!;

  it('are all that the inventory allows, cheapest first', () => {
    expect(ways.map(({ way, submodels, whole }) => [way, submodels?.device, whole].join()).sort()).toEqual(
      [
        'full-parameter,,large',
        ...['MoE-DisCo', 'dense, same money', 'dense, same time'].flatMap((way) => [
          `${way},small,large`,
          `${way},large,large`,
        ]),
      ].sort(),
    );
    expect(ways.map(({ dollars }) => dollars)).toEqual(
      ways.map(({ dollars }) => dollars).sort((a, b) => a - b),
    );
  });

  it('cost what Table 3 says of their hours', () => {
    const { submodel, finetune, baseline } = stagePlans(work, [small, large]);
    const ours = bill(
      {
        experts: 4,
        submodel: submodel.devices[0]!.hours!,
        finetune: finetune.devices[1]!.hours!,
        fullParameter: baseline.devices[1]!.hours!,
      },
      { cheap: 0.35, large: 2.28 },
    );
    expect(find('MoE-DisCo', 'small').dollars).toBeCloseTo(ours.totalDollars, 10);
    expect(find('MoE-DisCo', 'small').hours).toBeCloseTo(ours.totalHours, 10);
    expect(find('full-parameter').dollars).toBeCloseTo(ours.fullParameterDollars, 10);
  });

  it('dense for the same money costs the same and takes longer; for the same time it costs less', () => {
    const disco = find('MoE-DisCo', 'small');
    const money = find('dense, same money', 'small');
    const time = find('dense, same time', 'small');
    expect(money.dollars).toBeCloseTo(disco.dollars, 10);
    expect([money.tokens, money.flops]).toEqual([disco.tokens, disco.flops]);
    expect(money.hours).toBeGreaterThan(disco.hours);
    expect(time.hours).toBeCloseTo(disco.hours, 10);
    expect(time.dollars).toBeLessThan(disco.dollars);
  });

  it('a seed phase is paid by MoE-DisCo alone, on the device of what it trains', () => {
    for (const [model, stock] of [
      ['submodel', small],
      ['whole', large],
    ] as const) {
      const seeded = { ...work, seed: { steps: 300, model } };
      const { seed } = stagePlans(seeded, [small, large]);
      const all = waysOf(seeded, [small, large]);
      const disco = all.find((one) => one.way === 'MoE-DisCo' && one.submodels?.device === 'small')!;
      const before = find('MoE-DisCo', 'small');
      const hours = seed!.devices.find(({ device }) => device === stock.name)!.hours!;
      expect(disco.hours).toBeCloseTo(before.hours + hours, 10);
      expect(disco.dollars).toBeCloseTo(before.dollars + hours * stock.dollarsPerHour, 10);
      expect(disco.tokens).toBe(before.tokens + 300 * 16 * 1024);
      expect(disco.flops).toBe(before.flops + seed!.flops);
      const others = (list: typeof ways) => list.filter(({ way }) => way !== 'MoE-DisCo');
      expect(others(all)).toEqual(others(ways));
      const { priceRatio } = planDevices(seeded, [small, large], {
        deadlineHours: null,
        budgetDollars: null,
      });
      const unseeded = planDevices(work, [small, large], { deadlineHours: null, budgetDollars: null });
      expect(priceRatio!.equalCost).toBeGreaterThan(unseeded.priceRatio!.equalCost!);
    }
  });

  it('with fewer cards than experts take turns, every card paid to the end', () => {
    const two = waysOf(work, [{ ...small, count: 3 }, large]).find(
      ({ way, submodels }) => way === 'MoE-DisCo' && submodels?.device === 'small',
    )!;
    const { submodel, finetune } = stagePlans(work, [small, large]);
    const hours = submodel.devices[0]!.hours!;
    expect(two.submodels!.cards).toBe(3);
    expect(two.hours).toBeCloseTo(2 * hours + finetune.devices[1]!.hours!, 10);
    expect(two.dollars).toBeCloseTo(2 * hours * 3 * 0.35 + finetune.devices[1]!.hours! * 2.28, 10);
  });

  it('the cheapest within a deadline and the fastest within a budget keep to them', () => {
    const limit = find('MoE-DisCo', 'small').hours;
    const within = cheapest(ways, limit)!;
    expect(within.hours).toBeLessThanOrEqual(limit);
    for (const way of ways)
      if (way.hours <= limit) expect(way.dollars).toBeGreaterThanOrEqual(within.dollars);
    expect(cheapest(ways, 0.01)).toBeNull();
    const paid = fastest(ways, within.dollars)!;
    expect(paid.dollars).toBeLessThanOrEqual(within.dollars);
    expect(fastest(ways, 0)).toBeNull();
  });

  it('are shown once each, the cheapest and the fastest that keep the limits', () => {
    const limits = { deadlineHours: find('MoE-DisCo', 'small').hours, budgetDollars: null };
    const { best } = planDevices(work, [small, large], limits);
    expect(best.map(({ cheapest: { way } }) => way).sort()).toEqual(['MoE-DisCo', 'dense, same time']);
    for (const { cheapest: least, fastest: quick } of best) {
      expect(Math.max(least.hours, quick.hours)).toBeLessThanOrEqual(limits.deadlineHours);
      expect([least.dollars <= quick.dollars, quick.hours <= least.hours]).toEqual([true, true]);
    }
  });

  it('at the ratio of equal cost both ways do cost the same', () => {
    const { priceRatio } = planDevices(work, [small, large], { deadlineHours: null, budgetDollars: null });
    expect(priceRatio).toMatchObject({ small: 'small', large: 'large' });
    const even = waysOf(work, [
      { ...small, dollarsPerHour: 1 },
      { ...large, dollarsPerHour: priceRatio!.equalCost! },
    ]);
    const dollars = (way: string, first?: string) =>
      even.find((one) => one.way === way && one.submodels?.device === first)!.dollars;
    expect(dollars('MoE-DisCo', 'small')).toBeCloseTo(dollars('full-parameter'), 9);
  });
});

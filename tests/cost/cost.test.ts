import { describe, expect, it } from 'vitest';
import { bill, equalCostRatio } from '../../src/cost/bill.js';
import { flopsPerToken, hoursOnCard, trainingFlops } from '../../src/cost/flops.js';
import { estimateMemory, fits } from '../../src/cost/memory.js';
import { paperPrices, paperRows } from '../../src/cost/paper-tables.js';
import { parameterParts } from '../../src/cost/parameters.js';
import { planRecipe } from '../../src/cost/plan.js';
import { project } from '../../src/cost/projection.js';
import { parseModelConfig, submodelConfig } from '../../src/model/config.js';
import { loadRecipe } from '../../src/recipe/load.js';

const recipes = new URL('../../recipes/', import.meta.url).pathname;
const paper = loadRecipe(`${recipes}paper-qwen-c4.yaml`, [], { files: 'ignore' }).recipe;
const qwen = (experts: number) => parseModelConfig({ ...paper.model.config, num_experts: experts }, 'qwen');
const hoursOf = (row: (typeof paperRows)[number]) => ({
  experts: 4,
  submodel: row.submodel.hours,
  finetune: row.finetune.hours,
  fullParameter: row.fullParameter.hours,
});

describe('Table 3', () => {
  it.each(paperRows)('$model / $data to the printed digit', (row) => {
    const ours = bill(hoursOf(row), paperPrices);
    expect(ours.fullParameterDollars.toFixed(4)).toBe(row.fullParameter.dollars.toFixed(4));
    expect(ours.submodelDollars.toFixed(4)).toBe(row.submodel.dollars.toFixed(4));
    expect(ours.finetuneDollars.toFixed(4)).toBe(row.finetune.dollars.toFixed(4));
    expect(ours.totalDollars.toFixed(4)).toBe(row.totalDollars.toFixed(4));
    expect(ours.totalHours.toFixed(2)).toBe(row.totalHours.toFixed(2));
  });

  it('savings are the printed ones, but for Llama / WikiText-2', () => {
    const savings = paperRows.map((row) => (100 * bill(hoursOf(row), paperPrices).saving).toFixed(1));
    expect(savings).toEqual(['69.5', '51.8', '63.5', '47.6', '52.1', '52.9']);
    const wrong = paperRows.filter((row, i) => row.printedSaving.toFixed(1) !== savings[i]);
    expect(wrong.map((row) => `${row.model} / ${row.data}`)).toEqual(['Llama / WikiText-2']);
  });

  it.each([
    [0.35, 2.28, 47.6, 69.5],
    [0.45, 1.2, 14.5, 50.7],
    [0.68, 1.17, -20.3, 33.2],
  ])('at %d and %d dollars an hour the savings lie between %d and %d %%', (cheap, large, lowest, highest) => {
    const savings = paperRows.map((row) => 100 * bill(hoursOf(row), { cheap, large }).saving);
    expect(Math.min(...savings).toFixed(1)).toBe(lowest.toFixed(1));
    expect(Math.max(...savings).toFixed(1)).toBe(highest.toFixed(1));
  });

  it('price ratios of equal cost', () => {
    const ratios = paperRows.map((row) => equalCostRatio(hoursOf(row))!);
    expect(ratios.map((ratio) => ratio.toFixed(2))).toEqual(['1.03', '2.17', '1.22', '1.70', '1.22', '1.29']);
    const [row] = paperRows;
    const even = bill(hoursOf(row!), { cheap: 1, large: ratios[0]! });
    expect(even.saving).toBeCloseTo(0, 12);
    expect(equalCostRatio({ experts: 4, submodel: 1, finetune: 2, fullParameter: 2 })).toBeNull();
  });

  it('a seed phase is paid once, on its own kind of card', () => {
    const hours = { experts: 4, submodel: 1, finetune: 2, fullParameter: 6 };
    const prices = { cheap: 0.5, large: 3 };
    const plain = bill(hours, prices);
    const cheap = bill({ ...hours, seed: { hours: 0.5, card: 'cheap' } }, prices);
    const large = bill({ ...hours, seed: { hours: 0.5, card: 'large' } }, prices);
    expect(cheap.totalDollars - plain.totalDollars).toBeCloseTo(0.25, 12);
    expect(large.totalDollars - plain.totalDollars).toBeCloseTo(1.5, 12);
    expect([plain, cheap, large].map(({ totalHours }) => totalHours)).toEqual([3, 3.5, 3.5]);
    expect(plain).not.toHaveProperty('seedDollars');
    for (const [seed, made] of [
      [{ hours: 0.5, card: 'cheap' as const }, cheap],
      [{ hours: 0.5, card: 'large' as const }, large],
    ] as const) {
      const even = bill({ ...hours, seed }, { cheap: 1, large: made.equalCostRatio! });
      expect(even.saving).toBeCloseTo(0, 12);
    }
  });

  it('full-parameter training on one 4090 at equal utilisation of stated peaks', () => {
    // 165 TFLOP/s against 312: hours times 312 / 165, at 0.35 dollars.
    const dollars = paperRows.slice(0, 3).map((row) => row.fullParameter.hours * (312 / 165) * 0.35);
    expect(dollars.map((value) => value.toFixed(2))).toEqual(['6.53', '2.01', '8.68']);
  });
});

describe('parameters', () => {
  it('of Qwen1.5-MoE, to the digit', () => {
    expect(parameterParts(qwen(60)).total).toBe(14_315_784_192);
    expect(parameterParts(qwen(4)).total).toBe(2_686_420_992);
    expect(parameterParts(submodelConfig(qwen(4))).total).toBe(2_063_419_392);
    const submodel = parameterParts(submodelConfig(qwen(4)));
    expect(submodel.total - submodel.router).toBe(2_063_370_240);
    expect(parameterParts(qwen(60)).active / 1e9).toBeCloseTo(2.689, 3);
  });

  it('add up by part, tied or not', () => {
    for (const tie of [true, false]) {
      const counts = parameterParts({ ...qwen(4), tieWordEmbeddings: tie, mlpOnlyLayers: [0, 5] });
      const { embedding, head, attention, norms, experts, router, sharedExperts, dense } = counts;
      expect(embedding + head + attention + norms + experts + router + sharedExperts + dense).toBe(
        counts.total,
      );
      expect(counts.backbone).toBe(counts.total - experts - router);
      expect(dense).toBe(2 * 3 * 2048 * 5632);
    }
  });

  it('the demo has at least 1.5 million', () => {
    const plan = planRecipe(loadRecipe(`${recipes}demo.yaml`).recipe);
    expect(plan.whole.total).toBeGreaterThan(1_500_000);
    expect(plan.tokensPerStep * plan.steps.baseline).toBeGreaterThan(1_900_000);
  });
});

describe('FLOPs', () => {
  // hidden 256, 4 layers, vocabulary 4,096, 4 experts of 256, shared 1,024; batch 16 x 256: by hand 212.9 G and 174.2 G.
  const small = parseModelConfig(
    {
      model_type: 'qwen2_moe',
      vocab_size: 4096,
      hidden_size: 256,
      num_hidden_layers: 4,
      num_attention_heads: 4,
      num_key_value_heads: 4,
      moe_intermediate_size: 256,
      shared_expert_intermediate_size: 1024,
      num_experts: 4,
      num_experts_per_tok: 4,
    },
    'small',
  );
  it.each([
    [4, '212.9'],
    [2, '174.2'],
  ])('of a step with top-%d', (k, expected) => {
    const flops = trainingFlops(
      { ...small, numExpertsPerTok: k },
      { steps: 1, batchSize: 16, sequenceLength: 256 },
    );
    expect((flops / 1e9).toFixed(1)).toBe(expected);
  });

  it('count a tied matrix once, as the head', () => {
    expect(flopsPerToken({ ...small, tieWordEmbeddings: true }, 256)).toBe(flopsPerToken(small, 256));
  });

  it('become hours through peak and utilisation', () => {
    expect(hoursOnCard(3600e12 * 50, { peakTflops: 100, utilization: 0.5 })).toBe(1);
  });
});

describe('memory', () => {
  const mode = {
    precision: paper.train.precision,
    backward: 'blocks',
    optimizerInBackward: true,
    microBatch: 16,
    sequenceLength: 1024,
  } as const;

  it('the whole Qwen model at E = 4 fits 24 GB only with the optimizer step inside the backward pass', () => {
    const inside = estimateMemory(qwen(4), mode);
    // 6 bytes a parameter: 15.0 GiB of weights and moments.
    expect((inside.weights + inside.moments) / 2 ** 30).toBeCloseTo(15.0, 1);
    expect(inside.gradients).toBe((151_936 * 2048 + 2048) * 2);
    const rest = (inside.total - inside.weights - inside.moments) / 2 ** 30;
    expect(rest).toBeGreaterThan(3);
    expect(rest).toBeLessThan(6);
    expect(fits(inside, 24)).toBe(true);
    expect(fits(estimateMemory(qwen(4), { ...mode, optimizerInBackward: false }), 24)).toBe(false);
  });

  it('submodels fit 24 GB in pure bfloat16 and not with a float32 master copy', () => {
    const submodel = submodelConfig(qwen(4));
    const held = { ...mode, optimizerInBackward: false, microBatch: 4 };
    expect(fits(estimateMemory(submodel, held), 24)).toBe(true);
    const master = { ...held, precision: { ...mode.precision, master: 'float32' } as const };
    expect(fits(estimateMemory(submodel, master), 24)).toBe(false);
  });

  it('keeps more over the whole graph than block by block', () => {
    const graph = estimateMemory(qwen(4), { ...mode, backward: 'graph' });
    expect(graph.activations).toBeGreaterThan(5 * estimateMemory(qwen(4), mode).activations);
  });
});

describe('projection', () => {
  it('is the bill of Table 3 over projected hours', () => {
    const work = {
      config: qwen(4),
      precision: paper.train.precision,
      batchSize: 16,
      sequenceLength: 1024,
      submodelSteps: [100, 200, 50, 50],
      finetuneSteps: 100,
      baselineSteps: 400,
    };
    const {
      table3,
      flops,
      fullParameterOnCheapCard: rival,
    } = project(work, paper.cost.cheapCard, paper.cost.largeCard);
    expect(flops.submodels[1]).toBe(2 * flops.submodels[0]!);
    expect(flops.baseline).toBe(4 * flops.finetune);
    expect(table3.submodelHours).toBeCloseTo(flops.submodels[1]! / (165.2e12 * 0.4) / 3600, 10);
    expect(table3.submodelDollars).toBeCloseTo(4 * 0.35 * table3.submodelHours, 12);
    expect(rival.fits).toBe(true);
    expect(rival.dollars).toBeCloseTo((table3.fullParameterDollars * (312 / 165.2) * 0.35) / 2.28, 10);
    expect(rival.dollarsRecomputed / rival.dollars).toBeCloseTo(4 / 3, 12);
  });

  it('is part of the plan where the steps are known', () => {
    expect(planRecipe(paper).projection?.table3.totalHours).toBeGreaterThan(1);
    const epochs = { ...paper.train.submodels, steps: null, epochs: 1 };
    const open = { ...paper, train: { ...paper.train, submodels: epochs } };
    expect(planRecipe(open).projection).toBeNull();
    expect(planRecipe(paper).diskBytes).toBeGreaterThan(2 * 2_063_419_392 * 4);
  });
});

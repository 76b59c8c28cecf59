/**
 * What both ways would cost on other machines: FLOPs through a stated peak and utilisation, the paper's prices
 * and the formulas of Table 3. Nothing in it is measured.
 */
import { type ModelConfig, submodelConfig } from '../model/config.js';
import type { Card, Precision } from '../recipe/schema.js';
import { type Bill, bill } from './bill.js';
import { hoursOnCard, trainingFlops } from './flops.js';
import { estimateMemory, fits } from './memory.js';

/** Steps of each training, as they were or will be run. */
export interface Work {
  config: ModelConfig;
  precision: Precision;
  batchSize: number;
  sequenceLength: number;
  /** The seed phase, where there is one. */
  seed?: { steps: number; model: 'whole' | 'submodel' };
  /** Steps of each submodel, in order of k. */
  submodelSteps: readonly number[];
  finetuneSteps: number;
  baselineSteps: number;
}

/** Full-parameter training on one cheap card, if the whole model fits there. */
interface CheapCardRow {
  /** Gigabytes (10^9) needed with the optimizer step inside the backward pass, one row at a time. */
  needsGB: number;
  /** The same with all gradients held until the step. */
  needsGBWithGradients: number;
  fits: boolean;
  hours: number;
  dollars: number;
  /** The same with every block computed twice, a third more FLOPs. */
  hoursRecomputed: number;
  dollarsRecomputed: number;
}

export interface Projection {
  /** Always true: nothing in this block was measured. */
  projection: true;
  cheapCard: Card;
  largeCard: Card;
  flops: { seed?: number; submodels: number[]; finetune: number; baseline: number };
  table3: Bill;
  submodelNeedsGB: number;
  submodelFitsCheapCard: boolean;
  fullFitsLargeCard: boolean;
  fullParameterOnCheapCard: CheapCardRow;
}

/** FLOPs of every training of a run. */
function flopsOf(work: Work): Projection['flops'] {
  const { config, batchSize, sequenceLength, seed } = work;
  const submodel = submodelConfig(config);
  const flops = (model: ModelConfig, steps: number) =>
    trainingFlops(model, { steps, batchSize, sequenceLength });
  return {
    ...(seed === undefined ? {} : { seed: flops(seed.model === 'whole' ? config : submodel, seed.steps) }),
    submodels: work.submodelSteps.map((steps) => flops(submodel, steps)),
    finetune: flops(config, work.finetuneSteps),
    baseline: flops(config, work.baselineSteps),
  };
}

/** The row of Table 3 and its rivals for some work on two kinds of cards. */
export function project(work: Work, cheapCard: Card, largeCard: Card): Projection {
  const flops = flopsOf(work);
  const mode = {
    precision: work.precision,
    backward: 'blocks',
    microBatch: 1,
    sequenceLength: work.sequenceLength,
  } as const;
  const memory = (config: ModelConfig, optimizerInBackward: boolean) =>
    estimateMemory(config, { ...mode, optimizerInBackward });
  const whole = memory(work.config, true);
  const submodel = memory(submodelConfig(work.config), true);
  const hours = hoursOnCard(flops.baseline, cheapCard);
  const prices = { cheap: cheapCard.dollarsPerHour, large: largeCard.dollarsPerHour };
  // The whole model is what the large card is there for; a submodel takes one cheap card.
  const seedCard = work.seed?.model === 'whole' ? 'large' : 'cheap';
  const seedHours = hoursOnCard(flops.seed ?? 0, seedCard === 'large' ? largeCard : cheapCard);
  return {
    projection: true,
    cheapCard,
    largeCard,
    flops,
    table3: bill(
      {
        experts: flops.submodels.length,
        ...(work.seed === undefined ? {} : { seed: { hours: seedHours, card: seedCard } as const }),
        submodel: hoursOnCard(Math.max(0, ...flops.submodels), cheapCard),
        finetune: hoursOnCard(flops.finetune, largeCard),
        fullParameter: hoursOnCard(flops.baseline, largeCard),
      },
      prices,
    ),
    submodelNeedsGB: submodel.total / 1e9,
    submodelFitsCheapCard: fits(submodel, cheapCard.memoryGB),
    fullFitsLargeCard: fits(whole, largeCard.memoryGB),
    fullParameterOnCheapCard: {
      needsGB: whole.total / 1e9,
      needsGBWithGradients: memory(work.config, false).total / 1e9,
      fits: fits(whole, cheapCard.memoryGB),
      hours,
      dollars: hours * cheapCard.dollarsPerHour,
      hoursRecomputed: (hours * 4) / 3,
      dollarsRecomputed: ((hours * 4) / 3) * cheapCard.dollarsPerHour,
    },
  };
}

/**
 * All ways to the same number of steps that an inventory allows, each with its dollars, hours, tokens and FLOPs.
 * Nothing here is measured, and nothing says which way ends at the lower loss: that is what a run is for.
 */
import { type ModelConfig, submodelConfig } from '../model/config.js';
import type { Stock } from './devices.js';
import { trainingFlops } from './flops.js';
import { estimateMemory, fits, type MemoryEstimate } from './memory.js';
import type { Work } from './projection.js';

/** Does a training fit a device, and with which means. */
interface Fit {
  device: string;
  /** Estimate with backward block by block and one row at a time: the least that this program needs. */
  memory: MemoryEstimate;
  fits: boolean;
  /** Why not, or null. */
  reason: string | null;
  hours: number | null;
}

/** One training on every device. */
interface StagePlan {
  stage: string;
  steps: number;
  flops: number;
  /** Bytes of a checkpoint: weights, moments and master copy. */
  checkpointBytes: number;
  devices: Fit[];
}

/** A way to a model, on devices. */
export interface Way {
  /** `dense`: one submodel trained on everything, its expert copied, in place of the S-phase. */
  way: 'full-parameter' | 'MoE-DisCo' | 'dense, same money' | 'dense, same time';
  /** Device of the S-phase, and how many of them work at once; null where there is none. */
  submodels: { device: string; cards: number } | null;
  /** Device of the F-phase or of full-parameter training. */
  whole: string;
  hours: number;
  dollars: number;
  tokens: number;
  flops: number;
}

function memoryOf(config: ModelConfig, work: Work): MemoryEstimate {
  const { precision, sequenceLength } = work;
  return estimateMemory(config, {
    precision,
    sequenceLength,
    backward: 'blocks',
    optimizerInBackward: false,
    microBatch: 1,
  });
}

function fitOf(config: ModelConfig, flops: number, work: Work, stock: Stock): Fit {
  const memory = memoryOf(config, work);
  const speed = stock.tflops[work.precision.compute];
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  const small = !fits(memory, stock.memoryGB);
  const reason = small
    ? `needs ${gigabytes(memory.total)} of ${stock.memoryGB} GB`
    : speed === null
      ? `no ${work.precision.compute} peak is known`
      : null;
  return {
    device: stock.name,
    memory,
    fits: reason === null,
    reason,
    hours: speed === null ? null : flops / (speed * 1e12) / 3600,
  };
}

function stagePlan(
  stage: string,
  config: ModelConfig,
  steps: number,
  work: Work,
  inventory: readonly Stock[],
): StagePlan {
  const { batchSize, sequenceLength } = work;
  const flops = trainingFlops(config, { steps, batchSize, sequenceLength });
  const { weights, moments, master } = memoryOf(config, work);
  return {
    stage,
    steps,
    flops,
    checkpointBytes: weights + moments + master,
    devices: inventory.map((stock) => fitOf(config, flops, work, stock)),
  };
}

/** The trainings of a run on every device of an inventory. */
export interface StagePlans {
  /** Where there is a seed phase. */
  seed?: StagePlan;
  /** The longest of them. */
  submodel: StagePlan;
  finetune: StagePlan;
  baseline: StagePlan;
}

/** Every training of some work on every device of the inventory. */
export function stagePlans(work: Work, inventory: readonly Stock[]): StagePlans {
  const single = submodelConfig(work.config);
  const { seed } = work;
  const seeded = seed?.model === 'submodel' ? single : work.config;
  return {
    ...(seed === undefined ? {} : { seed: stagePlan('seed phase', seeded, seed.steps, work, inventory) }),
    submodel: stagePlan('each submodel', single, Math.max(...work.submodelSteps), work, inventory),
    finetune: stagePlan('fine-tuning', work.config, work.finetuneSteps, work, inventory),
    baseline: stagePlan('full-parameter baseline', work.config, work.baselineSteps, work, inventory),
  };
}

/** Trainings of one size on the cards of one kind, as many at once as there are; every card is paid to the end. */
function several(
  trainings: number,
  hours: number,
  stock: Stock,
): { hours: number; dollars: number; cards: number } {
  const cards = Math.min(trainings, stock.count);
  const wall = Math.ceil(trainings / cards) * hours;
  return { cards, hours: wall, dollars: wall * cards * stock.dollarsPerHour };
}

const none = { steps: 0, flops: 0, hours: 0, dollars: 0 };

/** The seed phase of MoE-DisCo: of a submodel on the device of the submodels, of the whole model on that of the whole. */
function seedPhase(
  plan: StagePlan | undefined,
  model: 'whole' | 'submodel' | undefined,
  first: Stock,
  second: Stock,
): typeof none {
  if (plan === undefined) return none;
  const stock = model === 'submodel' ? first : second;
  const { hours } = plan.devices.find(({ device }) => device === stock.name)!;
  return { steps: plan.steps, flops: plan.flops, hours: hours!, dollars: hours! * stock.dollarsPerHour };
}

/**
 * Every way on every assignment of devices that fits: full-parameter training; MoE-DisCo; one dense submodel on
 * everything, copied, for the S-phase's money and for its time. Cheapest first.
 */
export function waysOf(work: Work, inventory: readonly Stock[]): Way[] {
  const { seed, submodel, finetune, baseline } = stagePlans(work, inventory);
  const tokensPerStep = work.batchSize * work.sequenceLength;
  const experts = work.submodelSteps.length;
  const ways: Way[] = [];
  const usable = (plan: StagePlan) =>
    plan.devices.flatMap((fit, i) =>
      fit.fits && fit.hours !== null ? [{ hours: fit.hours, stock: inventory[i]! }] : [],
    );
  for (const { hours, stock } of usable(baseline)) {
    ways.push({
      way: 'full-parameter',
      submodels: null,
      whole: stock.name,
      hours,
      dollars: hours * stock.dollarsPerHour,
      tokens: baseline.steps * tokensPerStep,
      flops: baseline.flops,
    });
  }
  const starts: { way: Way['way']; trainings: number; length: number }[] = [
    { way: 'MoE-DisCo', trainings: experts, length: 1 },
    { way: 'dense, same money', trainings: 1, length: experts },
    { way: 'dense, same time', trainings: 1, length: 1 },
  ];
  for (const { way, trainings, length } of starts) {
    for (const first of usable(submodel)) {
      for (const second of usable(finetune)) {
        const phase = several(trainings, length * first.hours, first.stock);
        const before =
          way === 'MoE-DisCo' ? seedPhase(seed, work.seed?.model, first.stock, second.stock) : none;
        ways.push({
          way,
          submodels: { device: first.stock.name, cards: phase.cards },
          whole: second.stock.name,
          hours: before.hours + phase.hours + second.hours,
          dollars: before.dollars + phase.dollars + second.hours * second.stock.dollarsPerHour,
          tokens: (before.steps + trainings * length * submodel.steps + finetune.steps) * tokensPerStep,
          flops: before.flops + trainings * length * submodel.flops + finetune.flops,
        });
      }
    }
  }
  return ways.sort((a, b) => a.dollars - b.dollars || a.hours - b.hours);
}

/** The cheapest way that ends within `hours`, or null. */
export function cheapest(ways: readonly Way[], hours: number): Way | null {
  return best(
    ways.filter((way) => way.hours <= hours),
    (way) => way.dollars,
  );
}

/** The fastest way that costs at most `dollars`, or null. */
export function fastest(ways: readonly Way[], dollars: number): Way | null {
  return best(
    ways.filter((way) => way.dollars <= dollars),
    (way) => way.hours,
  );
}

function best(ways: readonly Way[], by: (way: Way) => number): Way | null {
  return ways.reduce<Way | null>((found, way) => (found === null || by(way) < by(found) ? way : found), null);
}

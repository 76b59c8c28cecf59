/** The plan of a recipe on an inventory, as sections: what fits where, all ways, the best of them, the price ratio. */
import { bill, equalCostRatio } from '../cost/bill.js';
import type { Stock } from '../cost/devices.js';
import type { Work } from '../cost/projection.js';
import { cheapest, fastest, type StagePlans, stagePlans, type Way, waysOf } from '../cost/ways.js';
import type { Section } from './layout.js';
import { count, large, money, significant, time } from './words.js';

/** Limits that the user sets; null for none. */
export interface Limits {
  deadlineHours: number | null;
  budgetDollars: number | null;
}

/** Everything that `plan` shows, as data. */
export interface DevicePlan {
  /** Nothing in it was measured. */
  projection: true;
  inventory: readonly Stock[];
  stages: StagePlans;
  /** Every way on every assignment of devices, cheapest first. */
  ways: Way[];
  /** Of each kind of way the cheapest and the fastest that keep the limits; those that can do neither are left out. */
  best: { cheapest: Way; fastest: Way }[];
  /** Price of a large card over a small one at which MoE-DisCo and full-parameter training cost the same. */
  priceRatio: { small: string; large: string; equalCost: number | null; savings: [number, number][] } | null;
}

/** Ratios of card prices that savings are shown for. */
const RATIOS = [1, 2, 3, 4, 5, 6, 7, 8];

/** Between the device with the least memory on which a submodel fits and that with the most, where the whole fits. */
function priceRatio(
  { seed, submodel, finetune, baseline }: StagePlans,
  inventory: readonly Stock[],
  work: Work,
) {
  const byMemory = inventory
    .map((stock, i) => ({ stock, i }))
    .sort((a, b) => a.stock.memoryGB - b.stock.memoryGB);
  const small = byMemory.find(({ i }) => submodel.devices[i]!.fits);
  const big = byMemory.findLast(({ i }) => baseline.devices[i]!.fits);
  if (small === undefined || big === undefined || small.i === big.i) return null;
  const seedCard = work.seed?.model === 'submodel' ? ('cheap' as const) : ('large' as const);
  const seedDevice = seed?.devices[seedCard === 'cheap' ? small.i : big.i];
  const hours = {
    ...(seedDevice === undefined ? {} : { seed: { hours: seedDevice.hours!, card: seedCard } }),
    experts: work.submodelSteps.length,
    submodel: submodel.devices[small.i]!.hours!,
    finetune: finetune.devices[big.i]!.hours!,
    fullParameter: baseline.devices[big.i]!.hours!,
  };
  return {
    small: small.stock.name,
    large: big.stock.name,
    equalCost: equalCostRatio(hours),
    savings: RATIOS.map((ratio): [number, number] => [ratio, bill(hours, { cheap: 1, large: ratio }).saving]),
  };
}

function bestOf(ways: readonly Way[], { deadlineHours, budgetDollars }: Limits): DevicePlan['best'] {
  const [hours, dollars] = [
    deadlineHours ?? Number.POSITIVE_INFINITY,
    budgetDollars ?? Number.POSITIVE_INFINITY,
  ];
  return [...new Set(ways.map(({ way }) => way))].flatMap((kind) => {
    const allowed = ways.filter((way) => way.way === kind && way.hours <= hours && way.dollars <= dollars);
    const [least, quick] = [cheapest(allowed, hours), fastest(allowed, dollars)];
    return least === null || quick === null ? [] : [{ cheapest: least, fastest: quick }];
  });
}

/** Plans some work on an inventory. */
export function planDevices(work: Work, inventory: readonly Stock[], limits: Limits): DevicePlan {
  const stages = stagePlans(work, inventory);
  const ways = waysOf(work, inventory);
  return {
    projection: true,
    inventory,
    stages,
    ways,
    best: bestOf(ways, limits),
    priceRatio: priceRatio(stages, inventory, work),
  };
}

function where(way: Way): string {
  if (way.submodels === null) return way.whole;
  return `${way.submodels.cards} x ${way.submodels.device}, then ${way.whole}`;
}

function wayRow(way: Way): string[] {
  return [
    way.way,
    where(way),
    money(way.dollars),
    time(way.hours * 3600),
    large(way.tokens),
    large(way.flops),
  ];
}

/** The limits in words, or nothing. */
function within({ deadlineHours, budgetDollars }: Limits): string {
  const parts = [
    ...(deadlineHours === null ? [] : [`within ${significant(deadlineHours, 3)} h`]),
    ...(budgetDollars === null ? [] : [`for at most ${money(budgetDollars)}`]),
  ];
  return parts.length === 0 ? '' : ` ${parts.join(' and ')}`;
}

/** The plan as sections of a text or a page. */
export function planSections(plan: DevicePlan, limits: Limits): Section[] {
  const { stages, inventory, priceRatio: ratio } = plan;
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const trainings = [stages.seed ?? [], stages.submodel, stages.finetune, stages.baseline].flat();
  const sections: Section[] = [
    {
      title: 'What fits where (estimates: backward block by block, one row at a time)',
      table: {
        head: ['training', 'steps', 'FLOPs', 'checkpoint', ...inventory.map(({ name }) => name)],
        rows: trainings.map(({ stage, steps, flops, checkpointBytes, devices }) => [
          stage,
          count(steps),
          large(flops),
          `${large(checkpointBytes)}B`,
          ...devices.map(({ hours, reason, memory }) =>
            reason === null ? `${time(hours! * 3600)}, ${large(memory.total)}B` : reason,
          ),
        ]),
      },
      notes: inventory.map(
        ({ name, count: cards, dollarsPerHour, memoryGB, speed }) =>
          `${cards} x ${name}: ${money(dollarsPerHour)} an hour, ${memoryGB} GB, ${speed}.`,
      ),
      list: true,
    },
    {
      title: `Ways to the same steps${within(limits)} (a projection)`,
      intro:
        'Of each way the cheapest assignment of devices, and the fastest where that is another. Dense: one submodel ' +
        'trained on everything and its expert copied, in place of the S-phase, for the same money or the same time. ' +
        'Which way ends at the lower loss only a run can tell.',
      table: {
        head: ['way', 'devices', 'dollars', 'time', 'tokens', 'FLOPs'],
        rows: plan.best.flatMap(({ cheapest: least, fastest: quick }) =>
          (least === quick ? [least] : [least, quick]).map(wayRow),
        ),
      },
      notes: plan.best.length === 0 ? [`No way does it${within(limits)}.`] : [],
    },
  ];
  if (ratio !== null) {
    const equal =
      ratio.equalCost === null
        ? 'no ratio of prices makes both ways cost the same'
        : `both ways cost the same where the ${ratio.large} costs ${ratio.equalCost.toFixed(2)} times the ${ratio.small}`;
    sections.push({
      title: `Saving of MoE-DisCo by the ratio of prices, ${ratio.large} over ${ratio.small}`,
      table: {
        head: ['ratio', ...ratio.savings.map(([one]) => String(one))],
        rows: [['saving', ...ratio.savings.map(([, saving]) => percent(saving))]],
      },
      notes: [`S-phase on the ${ratio.small}, the rest on the ${ratio.large}: ${equal}.`],
    });
  }
  return sections;
}

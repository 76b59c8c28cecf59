/** The sections of a report on one run. */
import type { Projection } from '../cost/projection.js';
import type { Comparison, TargetRow, Totals } from './comparison.js';
import type { Reach } from './curves.js';
import type { Section } from './layout.js';
import { intervalText } from './verdict.js';
import { count, large, money, nats, perplexity, significant, time, times } from './words.js';

function modelName(name: string): string {
  const submodel = /^submodels\/(\d+)$/.exec(name);
  if (submodel !== null) return `submodel ${submodel[1]}`;
  const names: Record<string, string> = {
    seed: 'after the seed phase',
    merged: 'merged, before fine-tuning',
    finetuned: 'fine-tuned (MoE-DisCo)',
    baseline: 'full-parameter baseline',
  };
  return names[name] ?? name;
}

function losses({ validation, bigram, test, validationDifference, setup }: Comparison): Section {
  const row = (name: string, value: { loss: number; perplexity: number }) => [
    name,
    nats(value.loss),
    perplexity(value.perplexity),
  ];
  return {
    title: 'Losses',
    intro:
      `${large(setup.parameters)} parameters, ${large(setup.activeParameters)} active; ${setup.experts} experts, ` +
      `top-${setup.topK}. Nats per token and perplexity on the whole validation split; the test split is read once. ` +
      'Each submodel has seen its own cluster only.',
    table: {
      head: ['model', 'loss', 'perplexity'],
      rows: [
        ...validation.map((one) => row(modelName(one.model), one)),
        row('interpolated bigram model', bigram),
        row('test: fine-tuned (MoE-DisCo)', test.finetuned),
        row('test: full-parameter baseline', test.baseline),
      ],
    },
    notes: [
      'Fine-tuned minus baseline, paired bootstrap over documents:',
      `validation ${intervalText(validationDifference)}`,
      `test ${intervalText(test.difference)}`,
    ],
  };
}

function reached({ steps }: Reach, horizon: number): string {
  return steps === null ? `not reached in ${count(horizon)}` : `${count(steps)} of ${count(horizon)}`;
}

function targets({ targets: data, measured }: Comparison): Section {
  const row = (name: string, one: TargetRow) => [
    name,
    nats(one.finetune.target),
    reached(one.finetune, measured.finetune.steps),
    reached(one.baseline, measured.fullParameter.steps),
    one.totalFlopsRatio === null ? '-' : times(one.totalFlopsRatio),
  ];
  const rows = data.validation.map((one) => row(`validation, + ${one.delta.toFixed(2)} nat`, one));
  if (data.training !== null) rows.push(row(`training, window ${data.window}`, data.training));
  return {
    title: "Steps to the baseline's final loss",
    table: { head: ['target', 'loss', 'fine-tuning', 'baseline', 'FLOPs in all'], rows },
    notes: [
      'Both ways are counted by one rule, the first crossing; what is billed is the whole horizon. "FLOPs in all" is ' +
        `${measured.seed === undefined ? '' : 'the seed phase, '}the S-phase and the counted F-steps over the counted baseline steps.`,
      `Validation curves: the first ${count(data.heldOutTokens)} validation tokens, every ${count(data.everySteps)} ` +
        'steps. The training loss flatters fine-tuning: the S-phase has already seen that data.',
    ],
  };
}

function paperShapes({ table1, table6, submodels, measured }: Comparison): Section[] {
  const { disco, fullParameter } = table1;
  const loss = (value: number | null) => (value === null ? '-' : nats(value));
  return [
    {
      title: 'In the shape of Table 1',
      intro: 'Validation PPL is that of the validation curves, not of the whole split.',
      table: {
        head: ['way', 'step', 'training loss', 'validation PPL'],
        rows: [
          [
            'full-parameter',
            count(fullParameter.steps),
            loss(fullParameter.loss),
            perplexity(fullParameter.perplexity),
          ],
          [
            'MoE-DisCo, fine-tuning',
            disco.steps === null ? `not reached in ${count(disco.horizon)}` : count(disco.steps),
            loss(disco.loss),
            perplexity(disco.perplexity),
          ],
        ],
      },
    },
    {
      title: 'In the shape of Table 6: the submodels',
      table: {
        head: ['submodel', 'steps', 'time', 'training loss'],
        rows: [
          ...submodels.map((one, k) => [String(k), count(one.steps), time(one.seconds), loss(one.loss)]),
          ['longest', count(table6.maxSteps), time(table6.maxSeconds), ''],
          ['all', count(measured.submodels.steps), time(measured.submodels.seconds), ''],
        ],
      },
    },
  ];
}

function totals({ measured }: Comparison): Section {
  const row = (name: string, one: Totals) => [
    name,
    count(one.steps),
    large(one.tokens),
    large(one.flops),
    time(one.seconds),
    money(one.dollars),
  ];
  const { disco, fullParameter: full } = measured;
  const ratio = (key: keyof Totals) => times(disco[key] / full[key]);
  return {
    title: 'Total cost, measured',
    intro:
      `Everything at one rate, ${money(measured.dollarsPerHour)} an hour, for the machine that ran it. FLOPs are those of ` +
      'training; time is that of every attempt, without the held-out losses on the way.',
    table: {
      head: ['part', 'steps', 'tokens', 'FLOPs', 'time', 'dollars'],
      rows: [
        row('partition and merge', measured.extra),
        ...(measured.seed === undefined ? [] : [row('seed phase', measured.seed)]),
        row('submodels', measured.submodels),
        row('fine-tuning', measured.finetune),
        row('MoE-DisCo in all', disco),
        row('full-parameter', full),
        ['ratio', ratio('steps'), ratio('tokens'), ratio('flops'), ratio('seconds'), ratio('dollars')],
      ],
    },
  };
}

/** The rival that Table 3 does not show: no large card at all. */
function againstCheapCard({ table3, cheapCard, fullParameterOnCheapCard: rival }: Projection): string {
  const cheapest = rival.dollarsRecomputed < table3.totalDollars ? 'less' : 'more';
  return (
    `Full-parameter training on one ${cheapCard.name} alone, with recomputation, would cost ` +
    `${money(rival.dollarsRecomputed)}, ${cheapest} than MoE-DisCo, and take ` +
    `${significant(rival.hoursRecomputed / table3.totalHours, 2)} times as long.`
  );
}

function projected({ projection, submodels }: Comparison): Section {
  const { cheapCard, largeCard, table3, fullParameterOnCheapCard: rival } = projection;
  const card = (one: typeof cheapCard) =>
    `${one.name} at ${money(one.dollarsPerHour)} an hour, ${one.peakTflops} TFLOP/s peak, ` +
    `${Math.round(100 * one.utilization)} % of it used`;
  const hours = (value: number) => time(3600 * value);
  const gigabytes = (value: number) =>
    value < 1 ? `${significant(1000 * value, 3)} MB` : `${significant(value, 3)} GB`;
  const rows = [
    ...(table3.seedHours === undefined
      ? []
      : [['seed phase on one card', hours(table3.seedHours), money(table3.seedDollars ?? 0)]]),
    [
      `S-phase on ${submodels.length} x ${cheapCard.name}`,
      hours(table3.submodelHours),
      money(table3.submodelDollars),
    ],
    [`F-phase on ${largeCard.name}`, hours(table3.finetuneHours), money(table3.finetuneDollars)],
    ['MoE-DisCo in all', hours(table3.totalHours), money(table3.totalDollars)],
    [
      `full-parameter on ${largeCard.name}`,
      hours(table3.fullParameterHours),
      money(table3.fullParameterDollars),
    ],
  ];
  if (rival.fits) {
    rows.push(
      [`full-parameter on one ${cheapCard.name}`, hours(rival.hours), money(rival.dollars)],
      ['the same, recomputing activations', hours(rival.hoursRecomputed), money(rival.dollarsRecomputed)],
    );
  }
  const saving =
    table3.saving >= 0
      ? `${(100 * table3.saving).toFixed(1)} % less`
      : `${(-100 * table3.saving).toFixed(1)} % more`;
  const equal =
    table3.equalCostRatio === null
      ? 'Fine-tuning is as long as full-parameter training: at no price ratio is MoE-DisCo the cheaper way.'
      : `Both ways cost the same where the ${largeCard.name} costs ${significant(table3.equalCostRatio, 3)} times the ` +
        `${cheapCard.name}; here it is ${significant(largeCard.dollarsPerHour / cheapCard.dollarsPerHour, 3)} times.`;
  return {
    title: 'PROJECTION, not measured: in the shape of Table 3',
    intro: `FLOPs through stated peaks: ${card(cheapCard)}; ${card(largeCard)}. Prices are the recipe's.`,
    table: { head: ['', 'time', 'dollars'], rows },
    notes: [
      `MoE-DisCo would cost ${saving} than full-parameter training on the ${largeCard.name}. ${equal}`,
      ...(rival.fits ? [againstCheapCard(projection)] : []),
      rival.fits
        ? `The whole model fits one ${cheapCard.name}: ${gigabytes(rival.needsGB)} of ${cheapCard.memoryGB} GB with the ` +
          `optimizer step inside the backward pass, ${gigabytes(rival.needsGBWithGradients)} with all gradients held, one ` +
          `row at a time. Recomputation costs a third more FLOPs.`
        : `The whole model does not fit one ${cheapCard.name}: it needs ${gigabytes(rival.needsGB)} of ` +
          `${cheapCard.memoryGB} GB even with the optimizer step inside the backward pass.`,
      'The steps are the horizons that were run, whatever loss they reached. Small models do not reach such ' +
        'utilisation on such cards.',
    ],
  };
}

/** The report on one run, in the order in which it is read: what came out, then how it was measured. */
export function sections(comparison: Comparison): Section[] {
  return [
    { title: `${comparison.run}: what came out`, notes: comparison.verdict, list: true },
    losses(comparison),
    targets(comparison),
    ...paperShapes(comparison),
    totals(comparison),
    projected(comparison),
    { title: 'What this comparison leaves out', notes: comparison.leavesOut, list: true },
  ];
}

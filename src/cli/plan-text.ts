/** What `check` prints: a plan in words and numbers. */
import { cpus } from 'node:os';
import type { Plan } from '../cost/plan.js';
import { freeBytes } from '../formats/new-folder.js';
import { dollars, duration, short } from '../launch/format.js';
import { memoryBytes } from '../launch/room.js';

/** Bytes for people. */
export const size = (bytes: number) =>
  bytes < 1e9 ? `${Math.ceil(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
/** A count with commas. */
export const whole = (count: number) => count.toLocaleString('en-US');

/** Lines of names and what is said of them, side by side. */
export function rows(entries: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...entries.map(([name]) => name.length));
  return entries.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`);
}

function projection(plan: Plan): string[] {
  if (plan.projection === null) {
    return [
      '',
      'Projection: none, since the length of the submodels is given in epochs and depends on the clusters.',
    ];
  }
  const { cheapCard, largeCard, table3, fullParameterOnCheapCard: alone } = plan.projection;
  const card = (one: typeof cheapCard) =>
    `${one.name} (${dollars(one.dollarsPerHour)}/h, ${one.peakTflops} TFLOP/s at ${Math.round(one.utilization * 100)} %)`;
  return [
    '',
    'Projection (nothing of it is measured):',
    ...rows([
      ['cards', `${card(cheapCard)}; ${card(largeCard)}`],
      ['MoE-DisCo', `${duration(table3.totalHours * 3600)}, ${dollars(table3.totalDollars)}`],
      [
        'full-parameter',
        `${duration(table3.fullParameterHours * 3600)}, ${dollars(table3.fullParameterDollars)} on the ${largeCard.name}`,
      ],
      [
        `the same on one ${cheapCard.name}`,
        alone.fits ? `${duration(alone.hours * 3600)}, ${dollars(alone.dollars)}` : 'does not fit',
      ],
    ]),
  ];
}

/** The text for a plan, and the warnings of its recipe. */
export function planText(plan: Plan, warnings: readonly string[]): string {
  const { whole: model, submodel, memory, steps, config } = plan;
  const length = (count: number | null) =>
    count === null ? 'by epochs' : `${whole(count)} steps, ${short(count * plan.tokensPerStep)} tokens`;
  const lines = [
    `${plan.name}: its keys and shapes fit. Nothing was downloaded, allocated or trained.`,
    '',
    ...rows([
      [
        'model',
        `${whole(model.total)} parameters, ${whole(model.active)} active; ${config.numExperts} experts, top-${config.numExpertsPerTok}`,
      ],
      ['submodel', `${whole(submodel.total)} parameters, one expert`],
      ...(steps.seed === 0 ? [] : [['seed phase', length(steps.seed)] as const]),
      ['each submodel', length(steps.submodel)],
      ['fine-tuning', length(steps.finetune)],
      ['baseline', length(steps.baseline)],
      [
        'memory',
        `${size(memory.submodel.total)} for a submodel, ${size(memory.whole.total)} for the whole model (estimates)`,
      ],
      ['disk', `${size(plan.diskBytes)} (estimate)`],
      [
        'this machine',
        `${cpus().length} cores, ${size(memoryBytes())} of memory, ${size(freeBytes(process.cwd()))} of disk free here`,
      ],
    ]),
    ...projection(plan),
    ...warnings.flatMap((warning) => ['', `Warning: ${warning}`]),
  ];
  return `${lines.join('\n')}\n`;
}

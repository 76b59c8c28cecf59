/** docs/evidence.md: the table of the evidence, its intervals, and what it says, from what was measured. */
import { pairedBootstrap } from '../src/report/bootstrap.js';
import { type Curve, stepsToTarget, type Trial } from '../src/report/curves.js';
import { BASELINE_HORIZONS, type Cell, FINETUNE_HORIZONS, REFERENCE } from './evidence-cells.js';

/** One cell, measured. */
export interface Measured {
  cell: Cell;
  /** Mean over the whole validation split. */
  loss: number;
  /** [sum of nats, tokens] of each validation document. */
  documents: [number, number][];
  trainSeconds: number;
  tokens: number;
  flops: number;
  curve: Curve;
}

/** What is to be measured in all. */
export interface Plan {
  seeds: readonly number[];
  /** Cells of each seed. */
  cells: number;
  submodelSteps: number;
}

export interface SeedResult {
  seed: number;
  cells: Measured[];
}

const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length;
const nat = (value: number): string => value.toFixed(3);
const signed = (value: number): string => (value < 0 ? '-' : '+') + Math.abs(value).toFixed(3);

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}

/** Documents of all seeds one after the other, so that the interval covers documents and seeds together. */
function pooled(results: readonly SeedResult[], name: string): [number, number][] {
  return results.flatMap(({ cells }) => cells.find(({ cell }) => cell.name === name)?.documents ?? []);
}

function mainTable(
  results: readonly SeedResult[],
  reference: string,
): { text: string; losses: Map<string, number> } {
  const names = results[0]!.cells.map(({ cell }) => cell.name);
  const losses = new Map<string, number>();
  const rows: string[][] = [];
  for (const name of names) {
    const found = results.map(({ cells }) => cells.find(({ cell }) => cell.name === name));
    if (found.some((one) => one === undefined)) continue;
    const all = found as Measured[];
    const base = results.map(({ cells }) => cells.find(({ cell }) => cell.name === reference)!);
    const loss = mean(all.map((one) => one.loss));
    losses.set(name, loss);
    const difference = pairedBootstrap(pooled(results, name), pooled(results, reference));
    const list = all.map((one) => one.loss);
    rows.push([
      `${all[0]!.cell.what} (\`${name}\`)`,
      (all[0]!.tokens / 1e6).toFixed(2),
      (mean(all.map((one) => one.flops)) / mean(base.map((one) => one.flops))).toFixed(2),
      nat(loss),
      `${nat(Math.min(...list))} to ${nat(Math.max(...list))}`,
      name === reference
        ? ''
        : `${signed(difference.difference)} (${signed(difference.low)} to ${signed(difference.high)})`,
    ]);
  }
  const head = ['way', 'tokens, M', 'FLOPs', 'loss', 'range of seeds', `minus \`${reference}\` (95 %)`];
  return { text: table(head, rows), losses };
}

function trialsOf({ cells }: SeedResult, prefix: string, horizons: readonly number[]): Trial[] {
  return horizons.flatMap((horizon) => {
    const found = cells.find(({ cell }) => cell.name === `${prefix}-${horizon}`);
    return found === undefined ? [] : [{ horizon, points: found.curve.heldOut }];
  });
}

function targetTable(results: readonly SeedResult[]): string {
  const rows: string[][] = [];
  for (const delta of [0, 0.02, 0.05]) {
    for (const result of results) {
      const baselines = trialsOf(result, 'baseline', BASELINE_HORIZONS);
      const target = baselines.at(-1)!.points.at(-1)!.loss + delta;
      const steps = (trials: Trial[]): string => {
        const { steps: reached, billed, lowest } = stepsToTarget(trials, target);
        if (lowest === null) return 'not measured yet';
        return reached === null ? `not reached (${nat(lowest)})` : `${reached} of ${billed}`;
      };
      rows.push([
        `+ ${delta.toFixed(2)}`,
        String(result.seed),
        nat(target),
        steps(trialsOf(result, 'disco', FINETUNE_HORIZONS)),
        steps(baselines),
      ]);
    }
  }
  return table(['target', 'seed', 'loss', 'F-steps', 'baseline steps'], rows);
}

function sweepTable(sweep: ReadonlyMap<number, ReadonlyMap<number, number>>): string {
  const rates = [...new Set([...sweep.values()].flatMap((row) => [...row.keys()]))];
  return table(
    ['baseline steps', ...rates.map(String)],
    [...sweep].map(([horizon, row]) => [String(horizon), ...rates.map((rate) => nat(row.get(rate)!))]),
  );
}

/** The findings, a sentence each: a comparison of two losses of the table, by seed, and what both ways cost. */
function findings(results: readonly SeedResult[], losses: ReadonlyMap<string, number>): string[] {
  const disco = `disco-${FINETUNE_HORIZONS[0]}`;
  const middle = `disco-${FINETUNE_HORIZONS[1]}`;
  const longest = `disco-${FINETUNE_HORIZONS.at(-1)}`;
  const find = ({ cells }: SeedResult, name: string): Measured =>
    cells.find(({ cell }) => cell.name === name)!;
  const cost = (name: string): number => mean(results.map((result) => find(result, name).flops));
  const say = (name: string, against: string, label: string, rival: string): string[] => {
    if (!losses.has(name) || !losses.has(against)) return [];
    const { difference, low, high } = pairedBootstrap(pooled(results, name), pooled(results, against));
    const bySeed = results.map((result) => find(result, name).loss - find(result, against).loss);
    // The interval is over documents: a difference that changes its sign with the seed is none.
    const verdict =
      low > 0 && Math.min(...bySeed) > 0
        ? 'is worse than'
        : high < 0 && Math.max(...bySeed) < 0
          ? 'is better than'
          : 'does not differ clearly from';
    const ratio = cost(name) / cost(against);
    return [
      `- ${label} ${verdict} ${rival}:`,
      `  ${signed(difference)} nat (${signed(low)} to ${signed(high)}; by seed ${bySeed.map(signed).join(', ')}), ` +
        `for ${ratio.toFixed(2)} times its FLOPs.`,
    ];
  };
  const dense = 'one dense submodel trained on everything and copied,';
  return [
    ...say(longest, REFERENCE, 'MoE-DisCo with the longest F-phase', 'the longest baseline'),
    ...say(disco, 'baseline-flops', 'MoE-DisCo', 'the baseline of the same total FLOPs'),
    ...say(longest, 'baseline-flops', 'MoE-DisCo with the longest F-phase', 'that baseline'),
    ...say(disco, 'dense-time', 'MoE-DisCo', `${dense} for the same S time`),
    ...say(disco, 'dense-money', 'MoE-DisCo', `${dense} for the same S money`),
    ...say(middle, 'dense-money', 'MoE-DisCo with twice the F-phase', 'that dense submodel'),
    ...say(disco, 'random', 'The clustered partition', 'the random one'),
    ...say(disco, 'one-backbone', 'Averaging the backbones', 'keeping that of the largest cluster'),
    ...say('two-experts', 'two-experts-baseline', 'With 2 experts MoE-DisCo', 'its own baseline'),
    ...say(disco, 'two-experts', 'MoE-DisCo with 4 experts', 'that with 2'),
  ];
}

/** What is still to be measured, in words. */
function missing(results: readonly SeedResult[], { seeds, cells }: Plan): string {
  const complete =
    results.length === seeds.length && results.every((result) => result.cells.length === cells);
  return complete ? '' : ' (not finished: `npm run evidence` goes on and writes this page anew)';
}

/** The whole page. */
export function evidenceMarkdown(
  results: readonly SeedResult[],
  sweep: ReadonlyMap<number, ReadonlyMap<number, number>>,
  plan: Plan,
): string {
  const { text, losses } = mainTable(results, REFERENCE);
  return `# Evidence at the demo's size

Written by \`npm run evidence\` from what it measured; do not edit. Model, data and settings are those of
recipes/demo.yaml: S-phase ${plan.submodelSteps} steps of each submodel, F-phase and baseline of the horizons that stand
behind the names; the rivals have the F-phase of \`disco-${FINETUNE_HORIZONS[0]}\`.

Seeds measured: ${results.map(({ seed }) => seed).join(', ')} of ${plan.seeds.join(', ')}${missing(results, plan)}.

A seed fixes initial weights, partition and data order of every way alike, so ways are compared in pairs. Loss is the
mean over the whole validation split, nats per token; tokens and FLOPs count all trainings of a way (S-phase of every
submodel included), FLOPs in units of \`${REFERENCE}\`. Intervals: paired bootstrap over validation documents, all seeds
pooled.

${text}

## What it says

${findings(results, losses).join('\n')}

## Steps to the baseline's final loss

Both ways by one rule over their grid of horizons: the cheaper of the first crossing and the smallest sufficient
horizon; what is billed is the whole horizon. Losses here are those on the way, on the first validation tokens.

${targetTable(results)}

## Learning rates

Held-out loss at the end of each baseline, first seed; the best of a row is used for that horizon, and that of the
longest for the F-phase as well.

${sweepTable(sweep)}

The S-phase was not tuned: its constant learning rate is a third of the F-phase's, as in the paper.
`;
}

/** Several runs side by side: ablations, other merges, other numbers of experts. */
import type { RunFolder } from '../run/folder.js';
import { FEWEST_DOCUMENTS, type Interval, pairedBootstrap } from './bootstrap.js';
import { collect } from './collect.js';
import { type Comparison, type ComparisonInput, compare } from './comparison.js';
import type { Section } from './layout.js';
import { count, large, money, nats, signed, times } from './words.js';

/** One of several runs. */
export interface RunRow {
  comparison: Comparison;
  /** Fine-tuned model of this run minus that of the first, on the test split; null for the first itself. */
  againstFirst: Interval | null;
  /** Why this run cannot be set against the first, where it cannot. */
  notComparable: string | null;
}

/** What makes two runs' losses incomparable, or null. */
function hindrance(first: ComparisonInput, other: ComparisonInput): string | null {
  const documents = (input: ComparisonInput) =>
    JSON.stringify(input.evaluation.perDocument.test.finetuned.map(([, n]) => n));
  if (
    first.recipe.corpus.tokenizer !== other.recipe.corpus.tokenizer &&
    first.config.vocabSize !== other.config.vocabSize
  ) {
    return 'another tokenizer: losses per token do not compare';
  }
  return documents(first) === documents(other) ? null : 'other test documents or rows: losses do not compare';
}

/**
 * Compares each run with its own baseline, and all of them with the first.
 * @throws RequestError when a stage of one of them is not finished
 */
export function compareRuns(runs: readonly RunFolder[]): RunRow[] {
  const inputs = runs.map((run) => collect(run));
  const first = inputs[0];
  if (first === undefined) return [];
  return inputs.map((input) => {
    const notComparable = input === first ? null : hindrance(first, input);
    return {
      comparison: compare(input),
      notComparable,
      againstFirst:
        input === first || notComparable !== null
          ? null
          : pairedBootstrap(
              input.evaluation.perDocument.test.finetuned,
              first.evaluation.perDocument.test.finetuned,
              {
                seed: first.recipe.seed,
              },
            ),
    };
  });
}

const range = ({ difference, low, high, documents }: Interval) =>
  documents < FEWEST_DOCUMENTS
    ? `${signed(difference)} (too few documents)`
    : `${signed(difference)} (${signed(low)} to ${signed(high)})`;

/** The sections of a report on several runs. */
export function sectionsOfRuns(rows: readonly RunRow[]): Section[] {
  const [first] = rows;
  if (first === undefined) return [];
  const validation = ({ comparison }: RunRow, model: string) =>
    comparison.validation.find((one) => one.model === model)?.loss;
  const loss = (value: number | undefined) => (value === undefined ? '-' : nats(value));
  const steps = ({ comparison }: RunRow) => {
    const reach = comparison.targets.validation[0]?.finetune;
    return reach?.steps == null
      ? 'not reached'
      : `${count(reach.steps)} of ${count(comparison.measured.finetune.steps)}`;
  };
  const notes = rows.flatMap(({ comparison, notComparable }) =>
    notComparable === null ? [] : [`${comparison.run}: ${notComparable}.`],
  );
  return [
    {
      title: 'What differs',
      table: {
        head: [
          'run',
          'experts',
          'partition',
          'gamma',
          'average',
          'seed',
          'batch',
          'S-steps',
          'F-steps',
          'baseline',
        ],
        rows: rows.map(({ comparison: { run, setup, measured } }) => [
          run,
          `${setup.experts}, top-${setup.topK}`,
          setup.partition,
          setup.gamma,
          setup.average,
          String(setup.seed),
          `${setup.batchSize} x ${setup.sequenceLength}`,
          count(measured.submodels.steps),
          count(measured.finetune.steps),
          count(measured.fullParameter.steps),
        ]),
      },
    },
    {
      title: 'Validation loss, each run with its own baseline',
      table: {
        head: ['run', 'merged', 'fine-tuned', 'baseline', "steps to baseline's loss"],
        rows: rows.map((row) => [
          row.comparison.run,
          loss(validation(row, 'merged')),
          loss(validation(row, 'finetuned')),
          loss(validation(row, 'baseline')),
          steps(row),
        ]),
      },
    },
    {
      title: 'Test loss: differences with 95 % intervals over documents',
      table: {
        head: ['run', 'fine-tuned', 'minus own baseline', `minus ${first.comparison.run}`],
        rows: rows.map(({ comparison, againstFirst }) => [
          comparison.run,
          nats(comparison.test.finetuned.loss),
          range(comparison.test.difference),
          againstFirst === null ? '-' : range(againstFirst),
        ]),
      },
      notes,
    },
    {
      title: 'Total cost, measured, of the MoE-DisCo way (and over that of the own baseline)',
      table: {
        head: ['run', 'tokens', 'FLOPs', 'dollars', 'FLOPs ratio', 'dollars ratio'],
        rows: rows.map(({ comparison: { run, measured } }) => [
          run,
          large(measured.disco.tokens),
          large(measured.disco.flops),
          money(measured.disco.dollars),
          times(measured.disco.flops / measured.fullParameter.flops),
          times(measured.disco.dollars / measured.fullParameter.dollars),
        ]),
      },
      notes: ['One run each: the intervals are over documents, not over seeds.'],
    },
  ];
}

/**
 * `evaluate RUN`: the stage of that name. `evaluate RUN|FOLDER --tasks ...`: tasks of the evaluation harness.
 * `evaluate RUN --matrix`: every stage on every cluster.
 */
import { type Command, InvalidArgumentError, Option } from '@commander-js/extra-typings';
import { RequestError } from '../errors.js';
import { readTasks } from '../evaluate/harness/ask.js';
import {
  evaluateMatrix,
  evaluateRecipeTasks,
  evaluateTasks,
  FEWSHOT_SEED,
  FINAL_STAGES,
} from '../launch/evaluate.js';
import { runOneStage } from '../launch/local.js';
import { withSession } from '../launch/session.js';
import { type Section, toText } from '../report/layout.js';
import { deviceOption } from './arguments.js';

function whole(least: number) {
  return (text: string): number => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least) return value;
    throw new InvalidArgumentError(`Expected a whole number from ${least} on.`);
  };
}

const list = (text: string): string[] => text.split(',').map((part) => part.trim());

/** Options that mean nothing without another one. */
const BELONG = {
  tasks: ['stages', 'shots', 'limit', 'seed', 'data', 'into', 'bootstrap'],
  matrix: ['split', 'window', 'stride', 'temperature'],
} as const;

/** Throws RequestError for an option whose leader is not given. */
function refuseStray(options: Record<string, unknown>): void {
  for (const [leader, members] of Object.entries(BELONG)) {
    const stray = members.find((name) => options[name] !== undefined);
    if (stray === undefined || options[leader] !== undefined) continue;
    throw new RequestError(`This option needs --${leader}.`, { key: `--${stray}` });
  }
}

/** Adds the command. */
export function addEvaluate(program: Command): void {
  program
    .command('evaluate')
    .summary('measure every model of the run on held-out text, or models on tasks')
    .description(
      'By itself it runs one stage: it measures every model of the run on held-out text. With --tasks it asks ' +
        'models the questions of ARC-Easy, MMLU, HellaSwag, PIQA, LAMBADA or WikiText as lm-evaluation-harness does, ' +
        'and prints accuracies with standard errors; what is done is not done again. With --matrix it compares every ' +
        'stage of the run on the held-out documents of every cluster.',
    )
    .argument('<run or folder>', 'the run folder, or with --tasks a Hugging Face folder')
    .addOption(
      new Option(
        '--tasks <list>',
        'arc_easy, mmlu, mmlu_SUBJECT, hellaswag, piqa, lambada_openai, wikitext, with commas; TASK:N with N shots',
      ).argParser(list),
    )
    .addOption(new Option('--shots <n>', 'examples in each prompt (default: 0)').argParser(whole(0)))
    .addOption(
      new Option('--limit <n>', 'only the first n questions of each task or subject').argParser(whole(1)),
    )
    .addOption(
      new Option('--stages <list>', 'models of the run, with commas (default: finetuned,baseline)').argParser(
        list,
      ),
    )
    .addOption(new Option('--data <folder>', 'data sets to use instead of those of the package'))
    .addOption(new Option('--into <folder>', 'where results go (default: evaluation/tasks in the run)'))
    .addOption(new Option('--seed <n>', 'chooses the examples (default: 1234)').argParser(whole(0)))
    .addOption(
      new Option(
        '--bootstrap <n>',
        "resamplings behind a perplexity's standard error (default: 100000)",
      ).argParser(whole(0)),
    )
    .addOption(
      new Option(
        '--matrix',
        'losses of every stage on the held-out documents of every cluster, and where experts go',
      ),
    )
    .addOption(
      new Option('--split <split>', 'documents of the matrix (default: validation)').choices([
        'validation',
        'test',
      ] as const),
    )
    .addOption(
      new Option('--window <n>', 'tokens seen at once (default: the sequence length)').argParser(whole(1)),
    )
    .addOption(
      new Option('--stride <n>', 'tokens by which a window moves on (default: its length)').argParser(
        whole(1),
      ),
    )
    .addOption(
      new Option('--temperature <t>', "of the ensemble's weights (default: 0.1)").argParser((text) => {
        const value = Number(text);
        if (value > 0 && Number.isFinite(value)) return value;
        throw new InvalidArgumentError('Expected a number above 0.');
      }),
    )
    .addOption(deviceOption())
    .action((target, options) =>
      withSession(async (session) => {
        refuseStray(options);
        const { tasks, matrix, device } = options;
        if (tasks === undefined && matrix === undefined) {
          await runOneStage(target, 'evaluation', session, device);
          const table = await evaluateRecipeTasks(target, device, session);
          if (table !== null) print([table.table], table.into);
        }
        if (matrix !== undefined) {
          const { split, window, stride, temperature } = options;
          const given = { split, window, stride, temperature, device };
          const known = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
          const { sections, file } = await evaluateMatrix(target, known, session);
          print(sections, file);
        }
        if (tasks !== undefined) {
          const { stages = [...FINAL_STAGES], shots = 0, seed = FEWSHOT_SEED, ...rest } = options;
          const { limit, data, into: place, bootstrap } = rest;
          const selection = readTasks(tasks, shots);
          const request = { target, selection, stages, seed, device, limit, data, into: place, bootstrap };
          const { table, into } = await evaluateTasks(request, session);
          print([table], into);
        }
      }),
    );
}

function print(sections: readonly Section[], place: string): void {
  const text = toText(sections, process.stdout.isTTY === true).trimEnd();
  process.stdout.write(`${text}\n\nResults: ${place}\n`);
}

/** `evaluate RUN`: the stage of that name. `evaluate RUN|FOLDER --tasks ...`: tasks of the evaluation harness. */
import { type Command, InvalidArgumentError, Option } from '@commander-js/extra-typings';
import { RequestError } from '../errors.js';
import { readTasks } from '../evaluate/harness/ask.js';
import { evaluateTasks } from '../launch/evaluate.js';
import { runOneStage } from '../launch/local.js';
import { withSession } from '../launch/session.js';
import { toText } from '../report/layout.js';
import { deviceOption } from './arguments.js';

function whole(least: number) {
  return (text: string): number => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least) return value;
    throw new InvalidArgumentError(`Expected a whole number from ${least} on.`);
  };
}

const list = (text: string): string[] => text.split(',').map((part) => part.trim());

/** Options that mean nothing without --tasks. */
const OF_TASKS = ['stages', 'shots', 'limit', 'seed', 'data', 'into', 'bootstrap'] as const;

/** Adds the command. */
export function addEvaluate(program: Command): void {
  program
    .command('evaluate')
    .summary('measure every model of the run on held-out text, or models on tasks')
    .description(
      'Without --tasks it runs one stage: it measures every model of the run on held-out text. With --tasks it asks ' +
        'models the questions of ARC-Easy, MMLU, HellaSwag, PIQA, LAMBADA or WikiText as lm-evaluation-harness does, ' +
        'and prints accuracies with standard errors. What is done is not done again.',
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
    .addOption(deviceOption())
    .action((target, { tasks, device, ...options }) =>
      withSession(async (session) => {
        if (tasks === undefined) {
          const given = OF_TASKS.find((name) => options[name] !== undefined);
          if (given !== undefined) {
            throw new RequestError('This option needs --tasks.', { key: `--${given}` });
          }
          await runOneStage(target, 'evaluation', session, device);
          return;
        }
        const { stages = ['finetuned', 'baseline'], shots = 0, seed = 1234, ...rest } = options;
        const selection = readTasks(tasks, shots);
        const { table, into } = await evaluateTasks(
          { ...rest, target, selection, stages, seed, device },
          session,
        );
        process.stdout.write(
          `${toText([table], process.stdout.isTTY === true).trimEnd()}\n\nResults: ${into}\n`,
        );
      }),
    );
}

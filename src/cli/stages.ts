/** The commands that run one stage of a run in this process: what a scheduler calls. */
import { type Command, Option } from '@commander-js/extra-typings';
import { runOneStage } from '../launch/local.js';
import { makeRun } from '../launch/run-recipe.js';
import { withSession } from '../launch/session.js';
import { deviceOption, overridesArgument, refuseOverrides, runArgument } from './arguments.js';

/** The stage's folder, and what --help says. `train`, `merge`, `evaluate` and `compare` have files of their own. */
const STAGES = {
  partition: ['partition', 'group the training documents into one cluster for each expert'],
  init: ['init', 'fix the initial weights and record their fingerprints'],
  seed: ['seed', 'train together what every submodel then starts from'],
  finetune: ['finetuned', 'train the merged model on all data'],
  baseline: ['baseline', 'train the same model from the start on all data, for comparison'],
} as const;

/** Adds `corpus RUN`, which can also make the run. */
export function addCorpus(program: Command): void {
  program
    .command('corpus')
    .summary('turn the documents into tokens')
    .description(
      'Reads the documents of the recipe and writes them as tokens. With --recipe it makes the run folder first.',
    )
    .addArgument(runArgument())
    .addArgument(overridesArgument())
    .addOption(new Option('--recipe <recipe>', 'make the run folder from this recipe'))
    .action((run, overrides, { recipe }) =>
      withSession(async (session) => {
        if (recipe === undefined) refuseOverrides(overrides);
        else makeRun({ recipe, overrides, into: run }, session.reporter.say);
        await runOneStage(run, 'corpus', session);
      }),
    );
}

/** Adds the command of one stage. */
export function addStage(program: Command, command: keyof typeof STAGES): void {
  const [stage, summary] = STAGES[command];
  program
    .command(command)
    .summary(summary)
    .description(`Runs one stage: ${summary}. A stage that is done is not run again.`)
    .addArgument(runArgument())
    .addOption(deviceOption())
    .action((run, { device }) =>
      withSession(async (session) => {
        await runOneStage(run, stage, session, device);
      }),
    );
}

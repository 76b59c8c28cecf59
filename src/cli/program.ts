/** The command line: which commands there are, and how --help shows them. */
import { type Argument, Command } from '@commander-js/extra-typings';
import { packageVersion } from '../launch/shipped.js';
import { addAssign } from './assign.js';
import { addCheck } from './check.js';
import { addCompare } from './comparison.js';
import { addConvert } from './convert.js';
import { addDemo } from './demo.js';
import { addEvaluate } from './evaluate.js';
import { addExport } from './export.js';
import { addFork } from './fork.js';
import { addGenerate } from './generate.js';
import { addInspect } from './inspect.js';
import { addMerge } from './merge.js';
import { addPlan } from './plan.js';
import { addRun } from './run.js';
import { addSetup } from './setup.js';
import { addSplit } from './split.js';
import { addCorpus, addStage } from './stages.js';
import { addStatus } from './status.js';
import { addTrain } from './train.js';
import { addVerify } from './verify.js';
import { addWorker } from './worker.js';

const AFTER = `
Exit codes:
  0 done   2 the request or its data is wrong   65 training diverged   74 disk, memory or device failed
  75 stopped and saved, run me again   76 budget reached   1 a bug

Any value of a recipe can be replaced behind it: key.path=value. COMMAND --help tells more.

Examples:
  $ moe-disco demo
  $ moe-disco check my-recipe.yaml
  $ moe-disco run my-recipe.yaml train.batchSize=16 --into runs/first --devices cuda:0,cuda:1
  $ moe-disco fork runs/first runs/radial merge.average=radial && moe-disco run runs/radial
`;

/** A command in the list of --help: its name and the arguments that it cannot do without. */
function subcommandTerm(command: { name(): string; registeredArguments: readonly Argument[] }): string {
  const names = command.registeredArguments
    .filter(({ required }) => required)
    .map((argument) => `<${argument.name()}${argument.variadic ? '...' : ''}>`);
  return [command.name(), ...names].join(' ');
}

/** All commands. Nothing is parsed yet. */
export function makeProgram(): Command {
  const program = new Command('moe-disco')
    .description('Trains Mixture-of-Experts language models in parts that cheap machines can do alone.')
    .version(packageVersion(), '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .showHelpAfterError('(--help tells more)')
    // The list of commands stays within 80 columns: what each takes besides is shown by its own --help.
    .configureHelp({ subcommandTerm })
    .addHelpText('after', AFTER)
    // Errors of the command line are thrown to main.ts, which knows the exit codes.
    .exitOverride();
  program.commandsGroup('Whole runs:');
  addDemo(program);
  addRun(program);
  addCheck(program);
  addPlan(program);
  addFork(program);
  program.commandsGroup('Stages of a run, in their order:');
  addCorpus(program);
  for (const stage of ['partition', 'init', 'seed'] as const) addStage(program, stage);
  addTrain(program);
  addMerge(program);
  for (const stage of ['finetune', 'baseline'] as const) addStage(program, stage);
  addEvaluate(program);
  addCompare(program);
  program.commandsGroup('Model folders:');
  addInspect(program);
  addSplit(program);
  addConvert(program);
  addExport(program);
  addGenerate(program);
  program.commandsGroup('Other:');
  addStatus(program);
  addAssign(program);
  addVerify(program);
  addSetup(program);
  addWorker(program);
  return program;
}

/** `train RUN`: one submodel, or all of them. */
import { type Command, Option } from '@commander-js/extra-typings';
import { EXPERT_VARIABLES } from '../launch/expert.js';
import { trainSubmodels } from '../launch/local.js';
import { withSession } from '../launch/session.js';
import { devicesOption, runArgument } from './arguments.js';

/** Adds the command. */
export function addTrain(program: Command): void {
  program
    .command('train')
    .summary('train one submodel, or all of them')
    .description(
      'Trains the submodel of expert K in this process; it needs nothing of its siblings, so any number of machines ' +
        `can each train one. Without --expert the number is read from ${EXPERT_VARIABLES.join(', ')} in this order; ` +
        'where none is set, all submodels are trained here, one worker for each device.',
    )
    .addArgument(runArgument())
    .addOption(new Option('--expert <k>', 'number of the expert, from 0'))
    .addOption(devicesOption())
    .action((run, { expert, devices }) =>
      withSession((session) =>
        trainSubmodels(
          {
            folder: run,
            ...(expert === undefined ? {} : { expert }),
            ...(devices === undefined ? {} : { devices }),
          },
          session,
        ),
      ),
    );
}

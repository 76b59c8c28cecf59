/** `export RUN --into DIR`: the model of a run for others. */
import { type Command, Option } from '@commander-js/extra-typings';
import { exportStage } from '../convert/export.js';
import { openRun } from '../launch/run-recipe.js';
import { withSession } from '../launch/session.js';
import { runArgument } from './arguments.js';
import { dtypeOption, intoOption, shardSizeOption, targetType, typedCommand } from './folder-options.js';

/** Adds the command. */
export function addExport(program: Command): void {
  program
    .command('export')
    .summary('write the model of a run as a Hugging Face folder')
    .description(
      'Writes the model of a finished stage with its tokenizer and a model card that states recipe, data and parents. ' +
        'transformers loads it.',
    )
    .addArgument(runArgument())
    .addOption(intoOption().makeOptionMandatory())
    .addOption(
      new Option('--stage <stage>', 'finetuned, merged, baseline or submodels/K').default('finetuned'),
    )
    .addOption(dtypeOption())
    .addOption(shardSizeOption())
    .action((folder, { into, stage, dtype, shardSize }) =>
      withSession((session) =>
        exportStage(
          {
            ...openRun(folder),
            stage,
            into,
            maxShardBytes: shardSize,
            command: typedCommand(),
            ...(dtype === undefined ? {} : { dtype: targetType(dtype) }),
          },
          session,
        ),
      ),
    );
}

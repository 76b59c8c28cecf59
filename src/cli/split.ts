/** `split FOLDER --into DIR`: a model's submodels, as folders. */
import type { Command } from '@commander-js/extra-typings';
import { splitFolder } from '../convert/split.js';
import { withSession } from '../launch/session.js';
import { intoOption, shardSizeOption, typedCommand } from './folder-options.js';

/** Adds the command. */
export function addSplit(program: Command): void {
  program
    .command('split')
    .summary('write the submodels of a model folder')
    .description(
      'Writes one folder for each expert, DIR/0 to DIR/E-1: what all experts share, and that expert, bit for bit. ' +
        'Needs no run. merge puts them together again.',
    )
    .argument('<folder>', 'a Hugging Face folder of a Mixture of Experts')
    .addOption(intoOption().makeOptionMandatory())
    .addOption(shardSizeOption())
    .action((folder, { into, shardSize }) =>
      withSession((session) =>
        splitFolder(folder, { into, maxShardBytes: shardSize, command: typedCommand() }, session),
      ),
    );
}

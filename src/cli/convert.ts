/** `convert FOLDER --into DIR`: another type, layout or size of shards. */
import { type Command, Option } from '@commander-js/extra-typings';
import { convertFolder } from '../convert/convert.js';
import { withSession } from '../launch/session.js';
import { dtypeOption, intoOption, shardSizeOption, targetType, typedCommand } from './folder-options.js';

/** Adds the command. */
export function addConvert(program: Command): void {
  program
    .command('convert')
    .summary('write a model folder in another type, layout or shard size')
    .description('Writes a model folder anew. What is not asked to change stays as it is, bit for bit.')
    .argument('<folder>', 'a Hugging Face folder')
    .addOption(intoOption().makeOptionMandatory())
    .addOption(dtypeOption())
    .addOption(
      new Option('--layout <layout>', 'experts one by one, or those of a layer in one tensor')
        .choices(['per-expert', 'fused'] as const)
        .default('per-expert' as const),
    )
    .addOption(shardSizeOption())
    .action((folder, { into, dtype, layout, shardSize }) =>
      withSession((session) =>
        convertFolder(
          folder,
          {
            into,
            layout,
            maxShardBytes: shardSize,
            command: typedCommand(),
            ...(dtype === undefined ? {} : { dtype: targetType(dtype) }),
          },
          session,
        ),
      ),
    );
}

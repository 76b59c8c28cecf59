/** `merge RUN`, the stage of a run, and `merge FOLDER... --into DIR`, the same on plain folders. */
import { type Command, InvalidArgumentError, Option } from '@commander-js/extra-typings';
import { RequestError } from '../errors.js';
import { mergeIntoFolder } from '../launch/folders.js';
import { runOneStage } from '../launch/local.js';
import { withSession } from '../launch/session.js';
import { deviceOption } from './arguments.js';
import { intoOption, shardSizeOption, typedCommand } from './folder-options.js';

/** uniform, samples, wpsgd or numbers with commas. */
function gamma(text: string): 'uniform' | 'samples' | 'wpsgd' | number[] {
  if (text === 'uniform' || text === 'samples' || text === 'wpsgd') return text;
  const numbers = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (numbers.every(Number.isFinite)) return numbers;
  throw new InvalidArgumentError('Expected uniform, samples, wpsgd, or numbers with commas that sum to 1.');
}

function number(text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (Number.isFinite(value)) return value;
  throw new InvalidArgumentError('Expected a number.');
}

/** Adds the command. */
export function addMerge(program: Command): void {
  program
    .command('merge')
    .summary('join the experts and average what the submodels share')
    .description(
      'With a run: its stage merged, as the recipe says; a stage that is done is not run again. With folders and --into: ' +
        'submodels 0, 1, ... in this order, outside any run; the options that follow --into are those of the recipe.',
    )
    .argument('<run or folder...>', 'the run folder, or the folders of all submodels')
    .addOption(deviceOption())
    .addOption(intoOption())
    .addOption(
      new Option('--gamma <weights>', 'weights of the backbones: uniform, samples, wpsgd, or 0.5,0.5')
        .argParser(gamma)
        .default('uniform' as const),
    )
    .addOption(
      new Option('--lambda-eta <number>', 'for wpsgd: weight decay times learning rate').argParser(number),
    )
    .addOption(
      new Option('--average <way>', 'how').choices(['plain', 'radial'] as const).default('plain' as const),
    )
    .addOption(
      new Option(
        '--original <folder>',
        'the model that the submodels were split from: router, configuration, theta_0',
      ),
    )
    .addOption(shardSizeOption())
    .action((folders, options, command) =>
      withSession(async (session) => {
        const { into, device, gamma: mode, lambdaEta, average, original, shardSize } = options;
        if (into !== undefined) {
          await mergeIntoFolder(
            {
              ...{ folders, into, gamma: mode, average, maxShardBytes: shardSize, command: typedCommand() },
              ...(lambdaEta === undefined ? {} : { lambdaEta }),
              ...(original === undefined ? {} : { original }),
            },
            session,
          );
          return;
        }
        const given = (['gamma', 'lambdaEta', 'average', 'original', 'shardSize'] as const).find(
          (name) => command.getOptionValueSource(name) === 'cli',
        );
        if (folders.length > 1 || given !== undefined) {
          throw new RequestError('Folders are merged into a folder; a run is merged as its recipe says.', {
            expected: 'merge RUN, or merge FOLDER... --into DIR',
            found:
              given === undefined ? `${folders.length} folders without --into` : 'options without --into',
          });
        }
        await runOneStage(folders[0]!, 'merged', session, device);
      }),
    );
}

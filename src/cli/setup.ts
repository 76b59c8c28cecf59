/** `setup`: finds or makes what computing needs, so that a later run need not. */
import { type Command, Option } from '@commander-js/extra-typings';
import { describeBuild, ensureEngine } from '../setup/index.js';

/** Adds the command. */
export function addSetup(program: Command): void {
  program
    .command('setup')
    .summary("find or install PyTorch's C++ library and build the addon")
    .description(
      'Every command that computes does this by itself when it is needed. By hand it is useful on a login node: ' +
        '--device cuda prepares for a GPU that only the compute nodes have.',
    )
    .addOption(
      new Option('--device <kind>', 'for which device')
        .choices(['cpu', 'cuda', 'auto'] as const)
        .default('auto' as const),
    )
    .action(async ({ device }) => {
      const say = (line: string) => void process.stderr.write(`${line}\n`);
      const engine = await ensureEngine({ device, say });
      const { text, advice } = describeBuild(engine);
      process.stdout.write(`Ready: ${text} in ${engine.torchFolder}\n`);
      if (advice !== null) say(advice);
    });
}

/** `compare RUN...`, and the comparison that ends a run. */
import type { Command } from '@commander-js/extra-typings';
import { runOneStage } from '../launch/local.js';
import { withSession } from '../launch/session.js';

/** Prints the finished comparison of one run, or of several side by side. */
export async function printComparison(folders: readonly string[]): Promise<void> {
  const { comparisonText } = await import('../report/text.js');
  process.stdout.write(comparisonText(folders));
}

/** Adds the command. */
export function addCompare(program: Command): void {
  program
    .command('compare')
    .summary('compare both ways of training: steps, tokens, FLOPs, seconds, dollars')
    .description(
      'Writes comparison.json and report.md of a run and prints them in short; several runs are shown side by side.',
    )
    .argument('<run...>', 'run folders')
    .action((folders) =>
      withSession(async (session) => {
        for (const folder of folders) await runOneStage(folder, 'comparison', session);
        await printComparison(folders);
      }),
    );
}

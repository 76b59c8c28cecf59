/** `compare RUN...`, and the comparison that ends a run. */
import { join, relative } from 'node:path';
import type { Command } from '@commander-js/extra-typings';
import { runOneStage } from '../launch/local.js';
import { withSession } from '../launch/session.js';

/** Prints the finished comparison of one run and where its results lie, or several side by side. */
export async function printComparison(folders: readonly string[]): Promise<void> {
  // Imported when it is needed: --help and check do without.
  const { comparisonText } = await import('../report/text.js');
  process.stdout.write(`${comparisonText(folders).trimEnd()}\n`);
  const [folder] = folders;
  if (folder === undefined || folders.length > 1) return;
  const place = (...parts: string[]) => {
    const path = join(folder, ...parts);
    const near = relative(process.cwd(), path);
    return near.startsWith('..') ? path : near;
  };
  process.stdout.write(
    [
      '',
      'Where to look',
      `  this comparison  ${place('comparison', 'report.md')}, comparison.json beside it`,
      `  the clusters     ${place('partition', 'report.html')}, report.md beside it`,
      `  the model        ${place('finetuned')}, a Hugging Face folder; the baseline in ${place('baseline')}`,
      `  the merge        ${place('merged', 'merge.json')}: every tensor accounted for`,
      '',
    ].join('\n'),
  );
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

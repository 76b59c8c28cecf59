/** `assign RUN`: the cluster of each of some new documents, by the partition of a finished run. */
import { type Command, Option } from '@commander-js/extra-typings';
import { RunFolder } from '../run/folder.js';
import { deviceOption, runArgument } from './arguments.js';

/** Adds the command. */
export function addAssign(program: Command): void {
  program
    .command('assign')
    .summary('tell to which cluster of a run new documents belong')
    .description(
      'Prints one line of JSON for each document: its file and line, its cluster, and its distance to the centroid. ' +
        'Documents are embedded as those of the corpus were; the nearest centroid counts.',
    )
    .addArgument(runArgument())
    .addOption(
      new Option('--text <files...>', 'files, folders, patterns or hf:// data sets').makeOptionMandatory(),
    )
    .addOption(
      new Option('--format <format>', 'how documents lie in them')
        .choices(['auto', 'text', 'wikitext', 'jsonl', 'parquet'] as const)
        .default('auto' as const),
    )
    .addOption(new Option('--field <field>', 'jsonl, parquet: the field that holds the text').default('text'))
    .addOption(
      new Option('--unit <unit>', 'row takes every line of a text as a document')
        .choices(['document', 'row'] as const)
        .default('document' as const),
    )
    .addOption(deviceOption())
    .action(async (folder, { text, format, field, unit, device }) => {
      // Imported when it is needed: --help does without libtorch.
      const { assignFiles } = await import('../partition/assign-files.js');
      const source = {
        path: text,
        format,
        textField: field,
        onBadDocument: 'stop' as const,
      };
      const found = assignFiles(RunFolder.open(folder), source, { unit, device: device ?? 'cpu' });
      for await (const line of found) process.stdout.write(`${JSON.stringify(line)}\n`);
    });
}

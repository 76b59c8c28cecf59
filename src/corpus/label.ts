/** Labels of documents that do not stand in the same record as the text. */
import { basename } from 'node:path';
import type { Line } from './lines.js';

/** As labelField: a document is labelled with the name of its file. */
export const FILE_LABEL = '@file';

/** The label of the documents of a file: its name without folder and endings. */
export function fileLabel(name: string): string {
  return basename(name).replace(/(?<=.)\..*$/, '');
}

/** Rows with the strings of another column of the same file; null where that has none. */
export async function* withLabels(
  rows: AsyncIterable<{ text: string; line: number }>,
  column: AsyncIterable<Line[]>,
): AsyncGenerator<{ text: string; line: number; label: string | null }> {
  const labels = linesOf(column);
  let next = await labels.next();
  for await (const row of rows) {
    while (!next.done && next.value.number < row.line) next = await labels.next();
    const found = next.done || next.value.number !== row.line ? undefined : next.value;
    yield { ...row, label: found === undefined || found.fault !== undefined ? null : found.text };
  }
}

async function* linesOf(column: AsyncIterable<Line[]>): AsyncGenerator<Line> {
  for await (const some of column) yield* some;
}

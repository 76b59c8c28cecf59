/** Documents of a recipe's source, one after the other, whatever the format. */
import type { Recipe, Source } from '../recipe/schema.js';
import type { TextDocument } from './document.js';
import { readJsonl } from './jsonl.js';
import { readLines } from './lines.js';
import { readText, readTextRows } from './text.js';
import { readArticles } from './wikitext.js';

export type Unit = Recipe['corpus']['unit'];

/** The files of a source, in their order. */
export function sourceFiles(source: Source): string[] {
  return typeof source.path === 'string' ? [source.path] : source.path;
}

/**
 * Reads the documents of `source`, streamed, in the order of its files and lines. Blank documents are left out.
 *
 * - `text`: a document is a file, a row a line
 * - `wikitext`: a document is an article, a row a line
 * - `jsonl`: a line, whatever the unit
 *
 * @throws DataError naming file and line where something is not as it should be.
 */
export async function* readDocuments(source: Source, unit: Unit): AsyncGenerator<TextDocument> {
  for (const file of sourceFiles(source)) {
    const lines = readLines(file);
    if (source.format === 'jsonl') yield* readJsonl(file, lines, source.textField);
    else if (unit === 'row') yield* readTextRows(file, lines);
    else if (source.format === 'wikitext') yield* readArticles(file, lines);
    else yield* readText(file, lines);
  }
}

/** Documents of a recipe's source, one after the other, whatever the format. */
import { DataError } from '../errors.js';
import type { Recipe, Source } from '../recipe/schema.js';
import { containerFormat, KNOWN_ENDINGS } from '../recipe/source-format.js';
import type { Broken, Place, TextDocument } from './document.js';
import { readJsonl } from './jsonl.js';
import { FILE_LABEL, fileLabel, withLabels } from './label.js';
import { type Line, readLines } from './lines.js';
import { readParquetTexts } from './parquet.js';
import { listSource, type SourceFile } from './sources.js';
import { readText, readTextRows } from './text.js';
import { readArticles } from './wikitext.js';

export type Unit = Recipe['corpus']['unit'];

export interface ReadOptions {
  /** The files of the source, where they were listed before. */
  files?: readonly SourceFile[];
  /** The field that labels documents, or {@link FILE_LABEL}; null or left out: none. */
  labelField?: string | null;
  /** The document that begins here, and those before it, are passed over: how an interrupted reading goes on. */
  after?: Place;
  /**
   * Counts broken documents where the source says `onBadDocument: skip`; without it they stop the reading all the
   * same. What it was told belongs to the document yielded last, until the next one is asked for.
   */
  skipped?: (fault: DataError, documents: number) => void;
  /** Told how many bytes of the files, as they lie, were read since it was told before; not of files left out. */
  read?: (bytes: number) => void;
}

/** The paths of a source as the recipe has them, for messages. */
export function sourceFiles(source: Source): string[] {
  return [source.path].flat();
}

/**
 * Reads the documents of `source`, streamed, in the order of its files and lines. Blank documents are left out. A
 * file is opened (and, from the Hub, downloaded) when the ones before it are read.
 *
 * - `text`: a document is a file, a row a line
 * - `wikitext`: a document is an article, a row a line; in Parquet a line is a row
 * - `jsonl`, `parquet`: a line or row, whatever the unit
 *
 * @throws DataError naming file and place where something is not as it should be; a file that cannot be opened, or
 * whose format is not known, stops the reading also where broken documents are skipped.
 */
export async function* readDocuments(
  source: Source,
  unit: Unit,
  options: ReadOptions = {},
): AsyncGenerator<TextDocument> {
  const { after = { index: 0, line: 0 }, labelField = null, skipped } = options;
  const ofFile = labelField === FILE_LABEL;
  const fields = { textField: source.textField, labelField: ofFile ? null : labelField };
  const files = options.files ?? (await listSource(source)).files;
  for (const [index, file] of files.entries()) {
    if (index < after.index) continue;
    const before = index === after.index ? after.line : 0;
    const broken: Broken = (fault, line, documents = 1) => {
      if (line <= before) return;
      if (source.onBadDocument === 'stop' || skipped === undefined) throw fault;
      skipped(fault, documents);
    };
    const texts = textsOf(source, unit, file.name, await file.path(), fields, broken, before, options.read);
    const whole = ofFile ? fileLabel(file.name) : null;
    for await (const { text, line, label = null } of texts) {
      if (line > before)
        yield { text, file: file.name, index, line, ...(labelField !== null && { label: whole ?? label }) };
    }
  }
}

/** The texts of one file with the lines where they begin; those up to line `after` may be left out. */
function textsOf(
  source: Source,
  unit: Unit,
  name: string,
  path: string,
  fields: { textField: string; labelField: string | null },
  broken: Broken,
  after: number,
  read: ((bytes: number) => void) | undefined,
): AsyncGenerator<{ text: string; line: number; label?: string | null }> {
  const { textField, labelField } = fields;
  const stored = containerFormat(name);
  const format = source.format === 'auto' ? stored : source.format;
  if (format === null) {
    throw new DataError('The name of a file does not tell its format.', {
      file: name,
      expected: `one of ${KNOWN_ENDINGS}`,
      hint: 'name the format of the source, or choose its files by a pattern',
    });
  }
  const inLines = (): AsyncGenerator<Line[]> => readLines(path, undefined, read);
  if (format === 'jsonl') return readJsonl(path, inLines(), fields, broken, after);
  if (format === 'parquet') {
    const rows = readRows(readParquetTexts(path, textField, after, read), broken);
    return labelField === null ? rows : withLabels(rows, readParquetTexts(path, labelField, after));
  }
  if (format === 'text') {
    return unit === 'row' ? readTextRows(inLines(), broken) : readText(path, inLines(), broken);
  }
  const lines = stored === 'parquet' ? withoutEnds(readParquetTexts(path, textField, 0, read)) : inLines();
  return unit === 'row' ? readTextRows(lines, broken) : readArticles(path, lines, broken);
}

/** Rows of a Parquet file as documents, their line ends "\n". */
async function* readRows(
  rows: AsyncIterable<Line[]>,
  broken: Broken,
): AsyncGenerator<{ text: string; line: number }> {
  for await (const { text, line } of readTextRows(rows, broken)) {
    yield { text: text.replaceAll('\r\n', '\n'), line };
  }
}

/** Rows that are lines of a text, each with its end. */
async function* withoutEnds(rows: AsyncIterable<Line[]>): AsyncGenerator<Line[]> {
  for await (const some of rows) {
    yield some.map((line) => ({ ...line, text: line.text.replace(/\r?\n$/, '') }));
  }
}

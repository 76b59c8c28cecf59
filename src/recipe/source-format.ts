/** What the name of a file says of its content. */

/** Compressions that are undone on the way, by the ends of their names. */
const COMPRESSIONS = ['.gz', '.zst'] as const;

/** Formats of files by the ends of their names, compression left out. */
const FORMATS: Readonly<Record<string, 'text' | 'jsonl' | 'parquet'>> = {
  txt: 'text',
  text: 'text',
  md: 'text',
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  // One document a line, as C4 has it; a file that is one JSON value is refused where it is read.
  json: 'jsonl',
  parquet: 'parquet',
};

/** Endings that `format: auto` knows, for messages. */
export const KNOWN_ENDINGS = `${Object.keys(FORMATS)
  .map((ending) => `.${ending}`)
  .join(', ')}, each but Parquet also with ${COMPRESSIONS.join(' or ')}`;

/** The format that a file's name tells, or null where it tells none that is read. */
export function containerFormat(name: string): 'text' | 'jsonl' | 'parquet' | null {
  const compression = COMPRESSIONS.find((ending) => name.endsWith(ending)) ?? '';
  const plain = name.slice(0, name.length - compression.length);
  const ending = /\.([A-Za-z]+)$/.exec(plain)?.[1] ?? '';
  const format = Object.hasOwn(FORMATS, ending) ? FORMATS[ending]! : null;
  return format === 'parquet' && compression !== '' ? null : format;
}

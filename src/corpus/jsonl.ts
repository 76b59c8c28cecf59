/** JSON lines: each line an object, one field of which is the text of a document. Blank lines are passed over. */
import { DataError } from '../errors.js';
import type { TextDocument } from './document.js';
import type { Line } from './lines.js';

/**
 * The texts of a file; blank ones are left out.
 *
 * @throws DataError naming file and line where a line is not JSON, no object, or has no such text.
 */
export async function* readJsonl(
  file: string,
  lines: AsyncIterable<Line[]>,
  field: string,
): AsyncGenerator<TextDocument> {
  for await (const some of lines) {
    for (const line of some) {
      if (line.text.trim() === '') continue;
      const text = textOf(file, line, field);
      if (text.trim() !== '') yield { text, file, line: line.number };
    }
  }
}

function textOf(file: string, { text, number }: Line, field: string): string {
  const place = { file, key: `line ${number}` };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new DataError('A line is not JSON.', { ...place, found: (cause as Error).message, cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DataError('A line is not a JSON object.', { ...place, expected: `{"${field}": "..."}` });
  }
  const found = Object.hasOwn(value, field) ? (value as Record<string, unknown>)[field] : undefined;
  if (typeof found !== 'string') {
    const fields = Object.keys(value).slice(0, 10).join(', ');
    throw new DataError(`The field "${field}" is ${found === undefined ? 'missing' : 'no string'}.`, {
      ...place,
      expected: `a string in "${field}"`,
      found:
        found === undefined ? `fields ${fields || '(none)'}` : `${found === null ? 'null' : typeof found}`,
      hint: 'textField of the source names the field',
    });
  }
  if (/\p{Surrogate}/u.test(found)) {
    throw new DataError('A text has half of a surrogate pair, which no UTF-8 can hold.', place);
  }
  return found.replaceAll('\r\n', '\n');
}

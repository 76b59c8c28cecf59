/** JSON lines: each line an object, one field of which is the text of a document. Blank lines are passed over. */
import { DataError } from '../errors.js';
import type { Broken } from './document.js';
import { textAt } from './field.js';
import type { Line } from './lines.js';

/**
 * The texts of a file with their lines; blank ones are left out. Lines up to `after` are not looked at. Those that
 * are not JSON, no object, or have no such text are given to `broken`.
 */
export async function* readJsonl(
  file: string,
  lines: AsyncIterable<Line[]>,
  field: string,
  broken: Broken,
  after = 0,
): AsyncGenerator<{ text: string; line: number }> {
  for await (const some of lines) {
    for (const { text: json, number, fault } of some) {
      if (number <= after) continue;
      let text: string;
      try {
        if (fault !== undefined) throw fault;
        if (json.trim() === '') continue;
        text = textOf(file, json, number, field);
      } catch (error) {
        if (!(error instanceof DataError)) throw error;
        broken(error, number);
        continue;
      }
      if (text.trim() !== '') yield { text, line: number };
    }
  }
}

function textOf(file: string, json: string, number: number, field: string): string {
  const place = { file, key: `line ${number}` };
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new DataError('A line is not JSON.', { ...place, found: (cause as Error).message, cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DataError('A line is not a JSON object.', { ...place, expected: `{"${field}": "..."}` });
  }
  return textAt(value, field, place);
}

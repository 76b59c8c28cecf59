/** JSON lines: each line an object, one field of which is the text of a document. Blank lines are passed over. */
import { DataError } from '../errors.js';
import type { Broken } from './document.js';
import { labelAt, textAt } from './field.js';
import type { Line } from './lines.js';

/**
 * The texts of a file with their lines; blank ones are left out. Lines up to `after` are not looked at. Those that
 * are not JSON, no object, or have no such text are given to `broken`.
 */
export async function* readJsonl(
  file: string,
  lines: AsyncIterable<Line[]>,
  fields: { textField: string; labelField: string | null },
  broken: Broken,
  after = 0,
): AsyncGenerator<{ text: string; line: number; label: string | null }> {
  for await (const some of lines) {
    for (const { text: json, number, fault } of some) {
      if (number <= after) continue;
      let found: { text: string; label: string | null };
      try {
        if (fault !== undefined) throw fault;
        if (json.trim() === '') continue;
        found = textOf(file, json, number, fields);
      } catch (error) {
        if (!(error instanceof DataError)) throw error;
        broken(error, number);
        continue;
      }
      if (found.text.trim() !== '') yield { ...found, line: number };
    }
  }
}

function textOf(
  file: string,
  json: string,
  number: number,
  { textField, labelField }: { textField: string; labelField: string | null },
): { text: string; label: string | null } {
  const place = { file, key: `line ${number}` };
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new DataError('A line is not JSON.', { ...place, found: (cause as Error).message, cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DataError('A line is not a JSON object.', { ...place, expected: `{"${textField}": "..."}` });
  }
  const label = labelField === null ? null : labelAt(value, labelField, place);
  return { text: textAt(value, textField, place), label };
}

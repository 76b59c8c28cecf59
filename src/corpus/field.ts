/** The text of a document within a record: a field, or a path of fields and indices. */
import { DataError } from '../errors.js';

/** The keys of a path such as `messages.0.content`. */
export function fieldPath(field: string): string[] {
  return field.split('.');
}

/**
 * The text that `field` names in `record`; a key that is literally `a.b` goes before the path a, b. Line ends
 * become "\n".
 * @param place file and line, for errors
 * @throws DataError where there is none, or it is no string or none that UTF-8 can hold
 */
export function textAt(record: object, field: string, place: { file: string; key: string }): string {
  const { found, holder } = lookUp(record, field);
  if (typeof found !== 'string') {
    const fields = Object.keys(holder).slice(0, 10).join(', ');
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

/**
 * The label that `field` names in `record`: a string, a number or a boolean as text, null where there is none.
 * @throws DataError where it is a list or an object
 */
export function labelAt(record: object, field: string, place: { file: string; key: string }): string | null {
  const { found } = lookUp(record, field);
  if (found === undefined || found === null) return null;
  if (typeof found === 'string') return found.replace(/\p{Surrogate}/gu, '\ufffd');
  if (typeof found === 'number' || typeof found === 'boolean') return String(found);
  throw new DataError(`The field "${field}" is no label.`, {
    ...place,
    expected: 'a string, a number or a boolean',
    found: Array.isArray(found) ? 'a list' : 'an object',
    hint: 'labelField of the source names the field',
  });
}

/** What `field` names in `record`, undefined where nothing is there, and the object in which it was looked for last. */
function lookUp(record: object, field: string): { found: unknown; holder: object } {
  let found: unknown = record;
  let holder: object = record;
  for (const key of Object.hasOwn(record, field) ? [field] : fieldPath(field)) {
    if (typeof found === 'object' && found !== null) holder = found;
    found = childAt(found, key);
  }
  return { found, holder };
}

/** An own key of an object or an index of an array; "length" and the prototype's keys are none. */
function childAt(value: unknown, key: string): unknown {
  if (Array.isArray(value)) return /^\d+$/.test(key) ? value[Number(key)] : undefined;
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
  return (value as Record<string, unknown>)[key];
}

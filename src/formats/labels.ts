/**
 * corpus/labels.jsonl: what each training document is labelled with, such as its domain. One line per document of the
 * token store, in its order: a JSON string, or null where a document has no label.
 */
import { readFileSync } from 'node:fs';
import { DataError } from '../errors.js';
import { systemFailure } from './system-failure.js';

/** The file's name in the folder of the corpus. */
export const LABELS_FILE = 'labels.jsonl';

/** Labels of documents. */
export interface DocumentLabels {
  /** The different labels, in the order of their characters. */
  names: string[];
  /** Index of each document's label, -1 where it has none: int32 [documents]. */
  ofDocument: Int32Array;
}

/**
 * Reads labels.
 * @throws DataError where the file is missing, a line is no string, or there are not as many as `documents`
 */
export function readLabels(file: string, documents: number): DocumentLabels {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw systemFailure(error, file, 'read');
  }
  const labels: (string | null)[] = [];
  const known = new Map<string, string | null>();
  for (const line of text.split('\n')) {
    if (line === '') continue;
    if (!known.has(line)) known.set(line, parseLabel(line, file, labels.length + 1));
    labels.push(known.get(line)!);
  }
  if (labels.length !== documents) {
    throw new DataError('There are not as many labels as documents.', {
      file,
      expected: String(documents),
      found: String(labels.length),
    });
  }
  const names = [...new Set(labels)].filter((label) => label !== null).sort();
  const number = new Map(names.map((name, i) => [name, i]));
  return {
    names,
    ofDocument: Int32Array.from(labels, (label) => (label === null ? -1 : number.get(label)!)),
  };
}

function parseLabel(line: string, file: string, number: number): string | null {
  try {
    const value: unknown = JSON.parse(line);
    if (value === null || typeof value === 'string') return value;
  } catch {}
  throw new DataError('This line is no label.', {
    file,
    key: `line ${number}`,
    expected: 'a JSON string or null',
    found: line.slice(0, 80),
  });
}

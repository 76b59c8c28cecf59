/**
 * Faults of a recipe: collected, worded and reported all together, each with the key, what was expected, what
 * was found and the nearest thing that would be right.
 */
import type { z } from 'zod';
import { type ErrorDetails, RequestError } from '../errors.js';
import { expectation, keysOf, nodeAt, recipeJsonSchema, type SchemaNode } from './json-schema.js';

/** One thing that is wrong with a recipe. */
export interface Fault {
  /** Path in the recipe: `train.batchSize`. Empty for the recipe as a whole. */
  key: string;
  message: string;
  expected?: string;
  found?: string;
  hint?: string;
}

/** Edit distance (insertion, deletion, substitution, swap of neighbours) between two words. */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(row[j - 1]! + 1, previous[j]! + 1, previous[j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, before[j - 2]! + 1);
      row.push(best);
    }
    before = previous;
    previous = row;
  }
  return previous[b.length]!;
}

/** The nearest of `candidates` to `word`, or null when none is near enough to be what was meant. */
export function closest(word: string, candidates: readonly string[]): string | null {
  let best: string | null = null;
  let distance = Math.max(2, Math.floor(word.length / 2)) + 1;
  const plain = (text: string) => text.toLowerCase().replace(/[-_]/g, '');
  for (const candidate of candidates) {
    const near = editDistance(plain(word), plain(candidate));
    if (near < distance) [best, distance] = [candidate, near];
  }
  return best;
}

/** Every path of the schema that ends in `key`. */
function pathsOf(key: string, node: SchemaNode = recipeJsonSchema(), prefix: string[] = []): string[] {
  return (keysOf(node) ?? []).flatMap((name) => {
    const path = [...prefix, name];
    const child = nodeAt(path);
    const deeper = child === null ? [] : pathsOf(key, child, path);
    return name === key ? [path.join('.'), ...deeper] : deeper;
  });
}

/** What to say about an unknown key: the nearest key beside it, else where a key of this name belongs. */
export function suggestion(path: readonly string[]): string | undefined {
  const key = path.at(-1) ?? '';
  const parent = path.slice(0, -1);
  const siblings = keysOf(nodeAt(parent) ?? {}) ?? [];
  const near = closest(key, siblings);
  if (near !== null) return `did you mean ${[...parent, near].join('.')}?`;
  const elsewhere = pathsOf(key);
  if (elsewhere.length > 0) return `that key belongs to ${elsewhere.slice(0, 3).join(' or ')}`;
  return siblings.length > 0 ? `known here: ${siblings.join(', ')}` : undefined;
}

/** A value as it is shown in an error: short, on one line, strings in quotes. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function valueAt(data: unknown, path: readonly PropertyKey[]): unknown {
  let value = data;
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}

/**
 * The faults that a zod error reports about `data`. A required key that is missing because it was mistyped is
 * reported once, as the unknown key.
 */
export function faultsOf(error: z.ZodError, data: unknown): Fault[] {
  const faults: Fault[] = [];
  const meant = new Set<string>();
  for (const issue of error.issues) {
    if (issue.code !== 'unrecognized_keys') continue;
    for (const key of issue.keys) {
      const path = [...issue.path.map(String), key];
      const hint = suggestion(path);
      const near = hint?.match(/^did you mean (.*)\?$/)?.[1];
      if (near !== undefined) meant.add(near);
      faults.push({ key: path.join('.'), message: 'unknown key', ...(hint === undefined ? {} : { hint }) });
    }
  }
  for (const issue of error.issues) {
    if (issue.code === 'unrecognized_keys') continue;
    const key = issue.path.map(String).join('.');
    const value = valueAt(data, issue.path);
    const node = nodeAt(issue.path);
    const expected =
      issue.code === 'invalid_format' ? issue.message : node === null ? issue.message : expectation(node);
    if (value === undefined) {
      if (!meant.has(key))
        faults.push({ key, message: 'missing key', expected: expected.replace(/^expected /, '') });
      continue;
    }
    faults.push({
      key,
      message: issue.code === 'invalid_type' ? 'wrong type' : 'wrong value',
      expected: expected.replace(/^expected /, ''),
      found: show(value),
      ...hintForValue(key, value, node),
    });
  }
  return faults;
}

function hintForValue(key: string, value: unknown, node: SchemaNode | null): { hint?: string } {
  if (key === 'format' && typeof value === 'number' && value > 1) {
    return { hint: 'this recipe was made for a newer version of moe-disco' };
  }
  const words = (node?.anyOf ?? (node === null ? [] : [node])).flatMap((one) => one.enum ?? []).map(String);
  const near = typeof value === 'string' ? closest(value, words) : null;
  return near === null ? {} : { hint: `did you mean ${near}?` };
}

function line(fault: Fault, at: string): string {
  const parts = [`${fault.key === '' ? 'the recipe' : fault.key}: ${fault.message}`];
  if (fault.expected !== undefined) parts.push(`expected ${fault.expected}`);
  if (fault.found !== undefined) parts.push(`found ${fault.found}`);
  if (fault.hint !== undefined) parts.push(fault.hint);
  return `  ${at}${parts.join('; ')}`;
}

/**
 * One RequestError for all faults of a recipe.
 * @param file the recipe's file, as the user named it
 * @param position where a key stands in the file (`12:3`), or null when it does not
 */
export function recipeError(
  file: string,
  faults: readonly Fault[],
  position: (key: string) => string | null = () => null,
): RequestError {
  const first = faults[0]!;
  const details: ErrorDetails = { file };
  if (faults.length === 1) {
    const at = position(first.key);
    if (at !== null) details.file = `${file}:${at}`;
    if (first.key !== '') details.key = first.key;
    if (first.expected !== undefined) details.expected = first.expected;
    if (first.found !== undefined) details.found = first.found;
    if (first.hint !== undefined) details.hint = first.hint;
    return new RequestError(`The recipe cannot be used: ${first.message}.`, details);
  }
  const lines = faults.map((fault) => {
    const at = position(fault.key);
    return line(fault, at === null ? '' : `line ${at.split(':')[0]}, `);
  });
  return new RequestError(`The recipe has ${faults.length} faults:\n${lines.join('\n')}`, details);
}

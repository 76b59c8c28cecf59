/** Where two JSON values differ, by key path: what people are told when a recipe is not the one they think. */
import { canonicalJson } from '../formats/hash.js';

export interface Difference {
  /** Path such as `train.finetune.steps`. */
  key: string;
  /** The values as JSON, shortened, or `nothing`. */
  before: string;
  after: string;
}

function flatten(value: unknown, path: string, into: Map<string, string>): Map<string, string> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    for (const [key, entry] of Object.entries(value))
      flatten(entry, path === '' ? key : `${path}.${key}`, into);
  } else if (value !== undefined) {
    into.set(path || '(value)', canonicalJson(value));
  }
  return into;
}

function shorten(text: string | undefined): string {
  if (text === undefined) return 'nothing';
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** All key paths at which two values differ; lists count as one value. */
export function differences(before: unknown, after: unknown): Difference[] {
  const old = flatten(before, '', new Map());
  const now = flatten(after, '', new Map());
  return [...new Set([...old.keys(), ...now.keys()])]
    .filter((key) => old.get(key) !== now.get(key))
    .map((key) => ({ key, before: shorten(old.get(key)), after: shorten(now.get(key)) }));
}

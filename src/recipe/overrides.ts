/** Overrides of a recipe from the command line: `key.path=value`, the value read as YAML. */
import { parseDocument } from 'yaml';
import { RequestError } from '../errors.js';
import { suggestion } from './faults.js';
import { childOf, recipeJsonSchema, type SchemaNode } from './json-schema.js';

/** One override, its path checked against the schema. */
export interface Override {
  path: string[];
  value: unknown;
}

const FORBIDDEN = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * Parses `key.path=value`. The value is a YAML scalar or flow value (`0.1`, `[1,0,0,0]`, `null`, `{a: 1}`).
 * @throws RequestError for a text without `=`, a value that is not YAML, or a path that no recipe has
 */
export function parseOverride(text: string): Override {
  const at = text.indexOf('=');
  if (at < 1) {
    throw new RequestError('An override has the form key.path=value.', {
      expected: 'key.path=value',
      found: text,
    });
  }
  const key = text.slice(0, at).trim();
  const document = parseDocument(text.slice(at + 1));
  if (document.errors.length > 0) {
    throw new RequestError('The value of an override is not YAML.', {
      key,
      found: text.slice(at + 1),
      hint: document.errors[0]!.message.split('\n')[0]!,
    });
  }
  const path = key.split('.');
  let node: SchemaNode | undefined = recipeJsonSchema();
  for (const [index, name] of path.entries()) {
    const child: SchemaNode | null | undefined = node === undefined ? undefined : childOf(node, name);
    if (child === null || FORBIDDEN.has(name) || name === '') {
      const hint = suggestion(path.slice(0, index + 1));
      throw new RequestError('An override names a key that no recipe has.', {
        key,
        ...(hint === undefined ? {} : { hint }),
      });
    }
    node = child;
  }
  return { path, value: document.toJS() };
}

/**
 * `data` with `value` at `path`; objects on the way are made where there are none. `data` is not changed.
 * @throws RequestError when a value that is no mapping stands in the way
 */
export function withOverride(data: unknown, { path, value }: Override, done: string[] = []): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  const here = data ?? {};
  if (typeof here !== 'object') {
    throw new RequestError('An override goes below a key that holds a single value.', {
      key: [...done, ...path].join('.'),
      expected: `a mapping at ${done.join('.')}`,
      found: JSON.stringify(here),
    });
  }
  const below = withOverride((here as Record<string, unknown>)[key], { path: rest, value }, [...done, key]);
  if (Array.isArray(here)) {
    if (Number(key) > here.length) {
      throw new RequestError('An override names a place beyond the end of a list.', {
        key: [...done, ...path].join('.'),
        expected: `an index up to ${here.length}`,
      });
    }
    const copy: unknown[] = here.slice();
    copy[Number(key)] = below;
    return copy;
  }
  return { ...here, [key]: below };
}

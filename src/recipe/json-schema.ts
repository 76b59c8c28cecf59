/**
 * The JSON Schema of a recipe (for editors), and what is read from it: which keys exist where, and what a
 * value should be, in words. Errors, overrides and docs/recipe.md all use these words.
 */
import { z } from 'zod';
import { recipeSchema } from './schema.js';

/** The part of JSON Schema that the recipe's schema uses. */
export interface SchemaNode {
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  anyOf?: SchemaNode[];
  items?: SchemaNode;
  minItems?: number;
  properties?: Record<string, SchemaNode>;
  required?: string[];
  additionalProperties?: boolean | SchemaNode;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  pattern?: string;
  default?: unknown;
  description?: string;
}

let cached: SchemaNode | undefined;

/** JSON Schema (draft 2020-12) of a recipe as a user writes it: defaults are optional. */
export function recipeJsonSchema(): SchemaNode {
  cached ??= z.toJSONSchema(recipeSchema, { io: 'input' }) as SchemaNode;
  return cached;
}

/** The alternatives of a node: itself, or the members of its `anyOf`. */
function alternatives(node: SchemaNode): SchemaNode[] {
  if (node.anyOf !== undefined) return node.anyOf.flatMap(alternatives);
  return Array.isArray(node.type) ? node.type.map((type) => ({ ...node, type })) : [node];
}

/** Keys that an object at this node may have, or null where any key is allowed (or none is an object). */
export function keysOf(node: SchemaNode): string[] | null {
  const objects = alternatives(node).filter((one) => one.type === 'object');
  if (objects.length === 0 || objects.some((one) => one.properties === undefined)) return null;
  return [...new Set(objects.flatMap((one) => Object.keys(one.properties ?? {})))];
}

/** The node under one key or index of `node`; null where the schema has none; undefined where anything goes. */
export function childOf(node: SchemaNode, key: string): SchemaNode | null | undefined {
  let open = false;
  for (const one of alternatives(node)) {
    if (one.type === 'object') {
      if (one.properties !== undefined && Object.hasOwn(one.properties, key)) return one.properties[key];
      if (one.properties === undefined) open = true;
    }
    if (one.type === 'array' && one.items !== undefined && /^\d+$/.test(key)) return one.items;
  }
  return open ? undefined : null;
}

/** The node at a path of keys, or null where the schema has none or leaves it open. */
export function nodeAt(path: readonly PropertyKey[]): SchemaNode | null {
  let node: SchemaNode = recipeJsonSchema();
  for (const key of path) {
    const child = childOf(node, String(key));
    if (child === null || child === undefined) return null;
    node = child;
  }
  return node;
}

function range(node: SchemaNode, unit: string): string {
  const bounds: string[] = [];
  if (node.exclusiveMinimum !== undefined) bounds.push(`above ${node.exclusiveMinimum}`);
  else if (node.minimum !== undefined && node.minimum !== Number.MIN_SAFE_INTEGER) {
    bounds.push(`at least ${node.minimum}`);
  }
  if (node.exclusiveMaximum !== undefined && node.exclusiveMaximum !== Number.MAX_SAFE_INTEGER) {
    bounds.push(`below ${node.exclusiveMaximum}`);
  } else if (node.maximum !== undefined && node.maximum !== Number.MAX_SAFE_INTEGER) {
    bounds.push(`at most ${node.maximum}`);
  }
  return bounds.length === 0 ? unit : `${unit} ${bounds.join(', ')}`;
}

function one(node: SchemaNode): string {
  if (node.const !== undefined) return String(node.const);
  if (node.enum !== undefined) return `one of ${node.enum.map(String).join(', ')}`;
  switch (node.type) {
    case 'integer':
      return range(node, 'a whole number');
    case 'number':
      return range(node, 'a number');
    case 'array':
      return `a list of ${node.items === undefined ? 'values' : plural(node.items)}`;
    case 'object':
      return 'a mapping';
    case 'string':
      return 'text';
    case 'boolean':
      return 'true or false';
    default:
      return typeof node.type === 'string' ? node.type : 'a value';
  }
}

function plural(node: SchemaNode): string {
  if (node.type === 'string') return 'texts';
  return node.type === 'number' || node.type === 'integer' ? range(node, 'numbers') : 'values';
}

/** What a value should be, in words: `a whole number at least 1, or null`. */
export function expectation(node: SchemaNode): string {
  return alternatives(node).map(one).join(', or ');
}

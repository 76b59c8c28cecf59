/**
 * PyTorch's operator schemas as text, parsed: for generating the wrappers and for comparing what they were
 * generated from with what the loaded library has.
 */
import { EngineError } from '../errors.js';

export interface SchemaArgument {
  name: string;
  /** The type without alias marks: `Tensor`, `int[2]?`, `Scalar`. */
  type: string;
  /** Whether the operator writes to it. */
  mutated: boolean;
  /** The default as text, or undefined when the argument must be given. */
  fallback: string | undefined;
  keywordOnly: boolean;
}

export interface Schema {
  /** With namespace: `aten::add`. */
  name: string;
  overload: string;
  arguments: SchemaArgument[];
  /** Types of the results, without names and alias marks. */
  returns: string[];
  text: string;
}

/** Parses a schema such as `aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor`. */
export function parseSchema(text: string): Schema {
  const open = text.indexOf('(');
  const arrow = text.lastIndexOf(') -> ');
  if (open < 0 || arrow < 0) throw new EngineError(`Not an operator schema: ${text}`);
  const [name = '', overload = ''] = text.slice(0, open).split('.');
  const argumentsOut: SchemaArgument[] = [];
  let keywordOnly = false;
  for (const part of splitTopLevel(text.slice(open + 1, arrow))) {
    if (part === '*') keywordOnly = true;
    else argumentsOut.push({ ...parseArgument(part), keywordOnly });
  }
  const results = text.slice(arrow + 5).trim();
  const returns = results.startsWith('(') ? splitTopLevel(results.slice(1, -1)) : [results];
  return {
    name,
    overload,
    arguments: argumentsOut,
    returns: returns.map((type) => stripAlias(type).split(' ')[0] ?? ''),
    text,
  };
}

function parseArgument(part: string): Omit<SchemaArgument, 'keywordOnly'> {
  const plain = stripAlias(part);
  const space = plain.indexOf(' ');
  const rest = plain.slice(space + 1);
  const equals = rest.indexOf('=');
  return {
    type: plain.slice(0, space),
    name: equals < 0 ? rest : rest.slice(0, equals),
    mutated: /\([a-z]+!/.test(part),
    fallback: equals < 0 ? undefined : rest.slice(equals + 1),
  };
}

/** `Tensor(a!)[] self` without its alias marks: `Tensor[] self`. */
function stripAlias(text: string): string {
  return text.replace(/\([a-z*][^)]*\)/g, '');
}

function splitTopLevel(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    const c = text[i];
    if (c === '(' || c === '[') depth++;
    else if (c === ')' || c === ']') depth--;
    else if (i === text.length || (c === ',' && depth === 0)) {
      const part = text.slice(start, i).trim();
      if (part !== '') parts.push(part);
      start = i + 1;
    }
  }
  return parts;
}

/**
 * Checks that the library's schema serves wrappers made for `wanted`: the same arguments in the same places and
 * the same results; arguments that a newer library appends with a default are fine.
 *
 * @throws EngineError that names the operator and both schemas.
 */
export function assertCompatible(wanted: Schema, found: string | null, version: string): void {
  const place = `libtorch ${version}`;
  if (found === null) {
    throw new EngineError(`${place} has no operator ${wanted.name}.${wanted.overload}.`, {
      expected: wanted.text,
      hint: 'use a supported libtorch: moe-disco setup',
    });
  }
  const actual = parseSchema(found);
  const same =
    wanted.returns.join() === actual.returns.join() &&
    wanted.arguments.every((argument, i) => {
      const other = actual.arguments[i];
      return (
        other !== undefined &&
        other.name === argument.name &&
        plainType(other.type) === plainType(argument.type)
      );
    }) &&
    actual.arguments.slice(wanted.arguments.length).every((argument) => argument.fallback !== undefined);
  if (!same) {
    throw new EngineError(
      `${place} has another ${wanted.name}.${wanted.overload} than this version was made for.`,
      {
        expected: wanted.text,
        found,
        hint: 'use a supported libtorch: moe-disco setup',
      },
    );
  }
}

/** SymInt and int are one for callers. */
function plainType(type: string): string {
  return type.replace('SymInt', 'int');
}

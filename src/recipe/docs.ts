/** docs/recipe.md: the table of every key, written from the schema. */
import { childOf, expectation, keysOf, recipeJsonSchema, type SchemaNode } from './json-schema.js';

interface Row {
  key: string;
  node: SchemaNode;
  required: boolean;
}

/** An object of a nullable or plain node, or null where it holds no keys of its own. */
function objectOf(node: SchemaNode): SchemaNode | null {
  return (node.anyOf ?? [node]).find((one) => one.properties !== undefined) ?? null;
}

function rows(node: SchemaNode, prefix = ''): Row[] {
  const required = objectOf(node)?.required ?? [];
  return (keysOf(node) ?? []).flatMap((name) => {
    const child = childOf(node, name)!;
    const key = `${prefix}${name}`;
    const row = { key, node: child, required: required.includes(name) };
    return objectOf(child) === null ? [row] : [row, ...rows(child, `${key}.`)];
  });
}

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

function defaultOf({ node, required }: Row): string {
  if (required) return 'required';
  return node.default === undefined || (objectOf(node) !== null && node.default !== null)
    ? ''
    : `\`${JSON.stringify(node.default)}\``;
}

/** The text of docs/recipe.md: one row for each key with its type, default and description. */
export function recipeDocs(): string {
  const table = rows(recipeJsonSchema()).map(
    (row) =>
      `| \`${row.key}\` | ${cell(expectation(row.node))} | ${cell(defaultOf(row))} | ${cell(row.node.description ?? '')} |`,
  );
  return [
    '# Keys of a recipe',
    '',
    '<!-- Written by scripts/recipe-docs.ts from src/recipe/schema.ts; a test holds the two equal. -->',
    '',
    'A recipe is a YAML file; those in `recipes/` are complete and commented. An unknown key is an error. Paths are',
    'relative to the recipe. Any key can be set on the command line as `key.path=value`, where the value is YAML and',
    'paths are relative to the working directory.',
    '',
    '| key | value | default | meaning |',
    '|---|---|---|---|',
    ...table,
    '',
  ].join('\n');
}

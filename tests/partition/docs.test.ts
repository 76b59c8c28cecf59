import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { resolveRecipe } from '../../src/recipe/load.js';
import { root } from './support.js';

test('the snippets of docs/clusters.md are partitions that a recipe may have', () => {
  const text = readFileSync(`${root}docs/clusters.md`, 'utf8');
  const snippets = [...text.matchAll(/```yaml partition\n(.*?)```/gs)].map(([, yaml]) => yaml!);
  expect(snippets).toHaveLength(3);
  for (const yaml of snippets) {
    const recipe = parse(readFileSync(`${root}recipes/tiny.yaml`, 'utf8')) as Record<string, unknown>;
    const { partition } = resolveRecipe({ ...recipe, partition: parse(yaml) }, `${root}recipes`);
    expect(partition, stringify(partition)).toMatchObject(parse(yaml) as object);
  }
});

/** The snippets of docs/init.md are recipes. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { resolveRecipe } from '../../src/recipe/load.js';

const fileOf = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const tiny = parse(readFileSync(fileOf('recipes/tiny.yaml'), 'utf8')) as Record<string, object>;
const snippets = [...readFileSync(fileOf('docs/init.md'), 'utf8').matchAll(/```yaml\n([^`]*)```/g)].map(
  ([, text]) => parse(text!) as Record<string, object>,
);

/** The tiny recipe with the keys of a snippet. */
function recipeWith({ train = {}, ...others }: Record<string, object>) {
  const data = { ...tiny, ...others, train: { ...tiny.train, ...train } };
  return resolveRecipe(data, fileOf('recipes'), { files: 'ignore' });
}

it('each snippet of docs/init.md is part of a recipe, and together they show every way', () => {
  const recipes = snippets.map(recipeWith);
  expect(recipes.map(({ init }) => init.from)).toEqual([
    'scratch',
    'folder',
    'folder',
    'folder',
    'dense',
    'scratch',
  ]);
  expect(recipes.map(({ train }) => train.seed.steps)).toEqual([0, 0, 0, 0, 0, 300]);
  expect(recipes[3]!.init.experts).toBe('mostUsed');
  expect(recipes[1]!.init.folder).toBe(fileOf('models/my-moe'));
});

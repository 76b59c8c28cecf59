import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseHubPath } from '../../src/recipe/hub-path.js';
import { loadRecipe, resolveRecipe, toYaml } from '../../src/recipe/load.js';

const file = (name: string) => new URL(`../../${name}`, import.meta.url).pathname;
const snippets = [...readFileSync(file('docs/corpora.md'), 'utf8').matchAll(/```yaml\n([\s\S]*?)```/g)].map(
  (match) => match[1]!,
);

test.each(snippets)('docs/corpora.md: %s', (snippet) => {
  const { corpus, ...others } = parse(toYaml(loadRecipe(file('recipes/tiny.yaml')).recipe)) as {
    corpus: Record<string, unknown>;
  };
  const own = parse(snippet) as { corpus: Record<string, { path: string }> };
  const recipe = resolveRecipe({ ...others, corpus: { ...corpus, ...own.corpus } }, '/', { files: 'ignore' });
  for (const source of [recipe.corpus.train, recipe.corpus.validation, recipe.corpus.test]) {
    for (const path of [source?.path ?? []].flat()) {
      if (path.startsWith('hf:')) expect(parseHubPath(path)).toMatchObject({ text: path });
    }
  }
});

test('the page has snippets', () => expect(snippets.length).toBeGreaterThanOrEqual(5));

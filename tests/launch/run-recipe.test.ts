/** Run folders and their recipes: what of both is refused before anything starts. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { forkRun, makeRun } from '../../src/launch/run-recipe.js';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'run-recipe-'));
});
afterAll(() => rmSync(root, { recursive: true }));

const ignore = (): void => {};
const make = (into: string, overrides: readonly string[] = [], warn: (text: string) => void = ignore) =>
  makeRun({ recipe: 'tiny', overrides, into }, warn);

describe('a run of an older version', () => {
  it('goes on where the keys that are new have their defaults, and not where they have others', () => {
    const into = join(root, 'older');
    const { run } = make(into);
    const recipe = parse(readFileSync(run.recipeFile, 'utf8')) as Record<string, Record<string, unknown>>;
    delete recipe.init;
    delete recipe.train!.seed;
    writeFileSync(run.recipeFile, stringify(recipe));
    mkdirSync(run.path('corpus'));
    writeFileSync(run.path('corpus', 'train.bin'), 'begun');
    expect(() => make(into, ['train.seed.steps=5'])).toThrow(
      expect.objectContaining({ exitStatus: 2, key: 'train.seed.steps' }),
    );
    expect(makeRun({ recipe: into }, ignore).recipe.init.from).toBe('scratch');
    expect(make(into).recipe.train.seed.steps).toBe(0);
    expect(readFileSync(run.recipeFile, 'utf8')).toContain('from: scratch');
    const other = join(root, 'forked');
    expect(forkRun(into, other, ['train.seed.steps=5']).recipe.train.seed.steps).toBe(5);
  });
});

describe('a folder to start from', () => {
  const config = { model_type: 'qwen2_moe' };

  it('that is not there, or holds no model, or one that does not fit, is refused before a run folder is made', () => {
    const folder = join(root, 'model');
    const into = join(root, 'refused');
    const go = () => make(into, ['init.from=folder', `init.folder=${folder}`]);
    expect(go).toThrow(expect.objectContaining({ exitStatus: 2, key: 'init.folder' }));
    mkdirSync(folder);
    expect(go).toThrow(expect.objectContaining({ exitStatus: 2, file: join(folder, 'config.json') }));
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    expect(go).toThrow(expect.objectContaining({ exitStatus: 2, key: 'vocab_size' }));
    expect(existsSync(into)).toBe(false);
  });

  it.each([
    ['init.from=dense', 'init.folder', 'a Hugging Face folder'],
    ['init.folder=.', 'init.folder', 'null, or init.from: folder or dense'],
    ['init.experts=[0,1]', 'init.experts', 'init.from: folder'],
    ['init.sampleTokens=0', 'init.sampleTokens', 'a whole number above 0'],
    ['train.seed.steps=-1', 'train.seed.steps', 'a whole number at least 0'],
  ])('%s alone is refused by key', (override, key, expected) => {
    expect(() => make(join(root, 'keys'), [override])).toThrow(
      expect.objectContaining({ exitStatus: 2, key, expected }),
    );
  });
});

import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { splitOf, textFraction } from '../../src/corpus/split.js';
import { buildCorpus, endTokenOf, openSplit, splitsOf } from '../../src/corpus/stage.js';
import { TextTokenizer } from '../../src/corpus/tokenizer.js';
import { DataError, RequestError, StoppedError } from '../../src/errors.js';
import { loadRecipe, toYaml } from '../../src/recipe/load.js';
import type { Recipe } from '../../src/recipe/schema.js';
import type { Progress, StageRun } from '../../src/run/context.js';
import { fork, RunFolder } from '../../src/run/folder.js';
import { temporaryFolder } from './stores.js';

const shipped = new URL('../../recipes/tiny.yaml', import.meta.url).pathname;
const tiny = loadRecipe(shipped).recipe;

type Case = StageRun & { said: string[]; shown: Progress[]; folder: string };

/** A run of the tiny recipe with another corpus. */
function caseOf(corpus: Partial<Recipe['corpus']> = {}, config: Record<string, unknown> = {}): Case {
  const folder = temporaryFolder();
  const said: string[] = [];
  const shown: Progress[] = [];
  return {
    run: new RunFolder(join(folder, 'run')),
    recipe: {
      ...tiny,
      // A part is enough for most of what is asked here.
      corpus: { ...tiny.corpus, maxDocuments: 60, ...corpus },
      model: { config: { ...tiny.model.config, ...config } },
    },
    reporter: { progress: (p) => shown.push(p), say: (text) => said.push(text) },
    stop: { requested: false, reason: '' },
    device: 'cpu',
    said,
    shown,
    folder,
  };
}

function source(
  folder: string,
  name: string,
  content: string,
  format: 'text' | 'wikitext' | 'jsonl' = 'text',
) {
  const path = join(folder, name);
  writeFileSync(path, content);
  return { path, format, textField: 'text', onBadDocument: 'stop' as const };
}

/** Texts of a split of a finished corpus. */
async function textsOf(context: Case, split: 'train' | 'validation' | 'test'): Promise<string[]> {
  const tokenizer = await TextTokenizer.load(context.run.stage('corpus').path('tokenizer.json'));
  using store = openSplit(context, split);
  const documents = Array.from({ length: store.documents }, (_, d) => store.document(d));
  for (const ids of documents) {
    expect(ids.at(-1)).toBe(tokenizer.eos.id);
    expect(ids.indexOf(tokenizer.eos.id)).toBe(ids.length - 1);
  }
  return Promise.all(documents.map((ids) => tokenizer.decode(ids)));
}

/** Whatever lies in the stage's folder apart from the protocol's own files. */
function results(context: Case): string[] {
  const folder = context.run.path('corpus');
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => !/^(lock-|manifest\.json|ledger\.jsonl)/.test(name));
}

const lines = (count: number, word = 'line') =>
  Array.from({ length: count }, (_, i) => `${word} number ${i}`);

describe('a corpus', () => {
  test('holds every document of its sources, whole and in order, with counts that are true', async () => {
    const context = caseOf({ maxDocuments: null });
    const done = await buildCorpus(context);
    for (const split of ['train', 'validation', 'test'] as const) {
      const expected = readFileSync(tiny.corpus[split]!.path as string, 'utf8')
        .split('\n')
        .filter((l) => l.trim());
      expect(await textsOf(context, split)).toEqual(expected);
      using store = openSplit(context, split);
      expect(splitsOf(done)[split]).toEqual({
        documents: expected.length,
        tokens: store.tokens,
        bytes: Buffer.byteLength(expected.join('')),
        empty: 0,
      });
    }
    expect(endTokenOf(done)).toBe(0);
    expect(done.outputs.map(({ name }) => name).sort()).toEqual(
      results(context)
        .filter((n) => n !== 'DONE')
        .sort(),
    );
    const json = JSON.parse(readFileSync(context.run.path('corpus', 'corpus.json'), 'utf8'));
    expect(json).toMatchObject({ format: 1, inputs: done.inputs, eos: { token: '<|endoftext|>' } });
    expect(readFileSync(context.run.path('corpus', 'tokenizer.json'))).toEqual(
      readFileSync(tiny.corpus.tokenizer),
    );
    expect(context.shown.at(-1)).toMatchObject({ stage: 'corpus' });
    expect(context.said.at(-1)).toContain('documents');
  });

  test('is the same for the same content elsewhere, and another for another', async () => {
    const one = caseOf();
    const other = caseOf();
    const moved = join(other.folder, 'moved');
    cpSync(new URL('../../data/tiny', import.meta.url).pathname, moved, { recursive: true });
    other.recipe.corpus.train = { ...tiny.corpus.train, path: join(moved, 'train.txt') };
    const done = await buildCorpus(one);
    const again = await buildCorpus(other);
    expect(again.key).toBe(done.key);
    expect(again.hashes).toEqual(done.hashes);

    writeFileSync(join(moved, 'train.txt'), `one more\n${readFileSync(join(moved, 'train.txt'))}`);
    await expect(buildCorpus(other)).rejects.toMatchObject({
      exitStatus: 2,
      message: expect.stringContaining('train/0'),
    });
    other.run = new RunFolder(join(other.folder, 'second'));
    const changed = await buildCorpus(other);
    expect(changed.key).not.toBe(done.key);
    expect(changed.hashes.train).not.toBe(done.hashes.train);
    expect(changed.hashes.validation).toBe(done.hashes.validation);
  });

  test('is not built again, also where its sources are gone', async () => {
    const context = caseOf();
    const copied = source(context.folder, 'gone.txt', lines(9).join('\n'));
    context.recipe.corpus.train = copied;
    const done = await buildCorpus(context);
    rmSync(copied.path);
    context.recipe.corpus.tokenizer = join(context.folder, 'gone.json');
    expect(await buildCorpus(context)).toEqual(done);
    const forked = fork(context.run, join(context.folder, 'forked'), toYaml(context.recipe));
    expect(await buildCorpus({ ...context, run: forked })).toEqual(done);
    expect(forked.stageFolder('corpus')).toBe(context.run.path('corpus'));
  });

  test('takes the first documents of each split where asked', async () => {
    const context = caseOf({ maxDocuments: 5 });
    await buildCorpus(context);
    for (const split of ['train', 'validation', 'test'] as const) {
      const all = readFileSync(tiny.corpus[split]!.path as string, 'utf8')
        .split('\n')
        .filter((l) => l.trim());
      expect(await textsOf(context, split)).toEqual(all.slice(0, 5));
    }
  });

  test('has articles of WikiText, the end token inside a text being text', async () => {
    const context = caseOf({
      unit: 'document',
      validation: null,
      test: null,
      holdout: { validation: 0.3, test: 0.3 },
    });
    const articles = Array.from(
      { length: 30 },
      (_, i) => ` = Article ${i} = \n \n Some <unk> text <|endoftext|> . `,
    );
    context.recipe.corpus.train = source(context.folder, 'w.txt', articles.join('\n \n'), 'wikitext');
    await buildCorpus(context);
    const found = await Promise.all(
      (['train', 'validation', 'test'] as const).map((s) => textsOf(context, s)),
    );
    expect(found.flat().sort()).toEqual([...articles].sort());
  });
});

describe('splits by the hash of the text', () => {
  test('follow from the text alone, equal texts together', async () => {
    const texts = lines(400);
    const holdout = { validation: 0.2, test: 0.1 };
    const context = caseOf({ maxDocuments: null, validation: null, test: null, holdout });
    context.recipe.corpus.train = source(context.folder, 'a.txt', [...texts, ...texts].join('\n'));
    await buildCorpus(context);
    const found = {
      train: await textsOf(context, 'train'),
      validation: await textsOf(context, 'validation'),
      test: await textsOf(context, 'test'),
    };
    const unique = Object.values(found).map((split) => new Set(split));
    expect(unique.reduce((sum, split) => sum + split.size, 0)).toBe(400);
    expect(found.validation.length / 800).toBeCloseTo(0.2, 1);
    expect(found.test.length / 800).toBeCloseTo(0.1, 1);
    for (const text of found.validation) expect(textFraction(text)).toBeLessThan(0.2);
  });

  test('a split with a source of its own takes nothing from training', () => {
    const holdout = { validation: 0.5, test: 0.5 };
    const given = tiny.corpus.validation;
    const splits = (validation: typeof given, test: typeof given) =>
      new Set(lines(50).map((text) => splitOf(text, { validation, test, holdout })));
    expect(splits(null, null)).toEqual(new Set(['validation', 'test']));
    expect(splits(given, null)).toEqual(new Set(['train', 'test']));
    expect(splits(null, given)).toEqual(new Set(['train', 'validation']));
    expect(splits(given, given)).toEqual(new Set(['train']));
  });

  test('the fraction is that of SHA-256', () => {
    // sha256('abc') = ba7816bf 8f01...
    expect(textFraction('abc')).toBe(0xba7816bf8f01 / 2 ** 48);
  });
});

describe('bad input ends in one error that names the file, with nothing half-written', () => {
  const refused = async (context: Case, kind: typeof DataError | typeof RequestError) => {
    const error = await buildCorpus(context).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(kind);
    expect(results(context)).toEqual([]);
    return error as DataError;
  };

  test('a missing and an empty corpus', async () => {
    const context = caseOf();
    context.recipe.corpus.train = { ...tiny.corpus.train, path: join(context.folder, 'none.txt') };
    expect((await refused(context, DataError)).file).toBe(join(context.folder, 'none.txt'));
    const blank = source(context.folder, 'blank.txt', '\n \n');
    context.recipe.corpus.train = blank;
    expect(await refused(context, DataError)).toMatchObject({
      file: blank.path,
      message: expect.stringContaining('train'),
    });
    context.recipe.corpus.train = tiny.corpus.train;
    context.recipe.corpus.validation = blank;
    expect(await refused(context, DataError)).toMatchObject({
      file: blank.path,
      message: expect.stringContaining('validation'),
    });
  });

  test('text that is no UTF-8, behind good documents', async () => {
    const context = caseOf({ maxDocuments: null });
    context.recipe.corpus.train = source(context.folder, 'a.txt', '');
    writeFileSync(
      context.recipe.corpus.train.path as string,
      Buffer.from(`${lines(100).join('\n')}\ncaf\xe9\n`, 'latin1'),
    );
    expect((await refused(context, DataError)).key).toContain('line 101');
  });

  test('a broken line of JSON', async () => {
    const context = caseOf();
    const good = lines(4).map((text) => JSON.stringify({ text }));
    context.recipe.corpus.train = source(
      context.folder,
      'a.jsonl',
      [...good, '{"text": "b'].join('\n'),
      'jsonl',
    );
    expect((await refused(context, DataError)).key).toBe('line 5');
  });

  test('fewer documents than experts, found before and after', async () => {
    const context = caseOf({}, { num_experts: 4 });
    context.recipe.corpus.train = source(context.folder, 'a.txt', lines(3).join('\n'));
    expect(await refused(context, DataError)).toMatchObject({ expected: 'at least 4', found: '3' });
    context.recipe.model.config.num_experts = 3;
    const done = await buildCorpus(context);
    context.recipe.model.config.num_experts = 4;
    await expect(buildCorpus(context)).rejects.toThrow(DataError);
    context.recipe.model.config.num_experts = 2;
    expect(await buildCorpus(context)).toEqual(done);
  });

  test('a split into which no text falls', async () => {
    const context = caseOf({ validation: null, holdout: { validation: 0, test: 0 } });
    expect((await refused(context, DataError)).hint).toContain('corpus.holdout.validation');
  });

  test('a tokenizer that is larger than the vocabulary, broken, or without the end token', async () => {
    expect(await refused(caseOf({}, { vocab_size: 4095 }), RequestError)).toMatchObject({
      expected: 'at least 4096',
    });
    await refused(caseOf({}, { eos_token_id: 4096 }), RequestError);
    await refused(caseOf({}, { eos_token_id: 'end' }), RequestError);
    const context = caseOf();
    context.recipe.corpus.tokenizer = source(context.folder, 'tokenizer.json', '{}').path;
    expect((await refused(context, DataError)).file).toBe(context.recipe.corpus.tokenizer);
  });

  test('a request to stop, after which the same command succeeds', async () => {
    const context = caseOf();
    context.stop = { requested: true, reason: 'SIGTERM' };
    await expect(buildCorpus(context)).rejects.toThrow(StoppedError);
    expect(results(context)).toEqual(['partial']);
    context.stop = { requested: false, reason: '' };
    const done = await buildCorpus(context);
    expect(context.said.join()).toContain('continues after');
    expect(results(context)).not.toContain('partial');
    expect(done.hashes).toEqual((await buildCorpus(caseOf())).hashes);
  });
});

test('a corpus that was carried elsewhere is read there; a damaged one is refused', async () => {
  const context = caseOf();
  await buildCorpus(context);
  const elsewhere = join(context.folder, 'elsewhere');
  mkdirSync(elsewhere);
  renameSync(context.run.root, join(elsewhere, 'run'));
  context.run = new RunFolder(join(elsewhere, 'run'));
  expect((await textsOf(context, 'test')).length).toBeGreaterThan(0);
  const bin = context.run.path('corpus', 'train.bin');
  writeFileSync(bin, readFileSync(bin).subarray(2));
  expect(() => openSplit(context, 'train')).toThrow(DataError);
  context.recipe.model.config.vocab_size = 10;
  using store = openSplit(context, 'test');
  expect(() => store.document(0)).toThrow(DataError);
});

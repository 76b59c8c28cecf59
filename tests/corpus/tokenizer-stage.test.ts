/** Corpora of a recipe whose tokenizer is a folder, or older files. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { buildCorpus, endTokenOf } from '../../src/corpus/stage.js';
import { RequestError } from '../../src/errors.js';
import { loadRecipe } from '../../src/recipe/load.js';
import { runOnCorpus } from '../runs.js';
import { folderWith } from './genuine-tokenizers.js';
import { temporaryFolder } from './stores.js';

const shipped = new URL('../../data/tokenizer/bpe-4096.json', import.meta.url).pathname;
const tiny = new URL('../../recipes/tiny.yaml', import.meta.url).pathname;

/** The shipped tokenizer as vocab.json and merges.txt, with `more` beside them. */
function pair(more: Record<string, unknown>): string {
  const { model } = JSON.parse(readFileSync(shipped, 'utf8')) as {
    model: { vocab: Record<string, number>; merges: [string, string][] };
  };
  const merges = model.merges.map((parts) => parts.join(' '));
  return folderWith({ 'vocab.json': model.vocab, 'merges.txt': merges.join('\n'), ...more });
}

test('the same corpus from vocab.json and merges.txt; its end stays when they have gone', async () => {
  const folder = temporaryFolder();
  const files = { train: join(folder, 'train.txt'), held: join(folder, 'held.txt') };
  writeFileSync(
    files.train,
    Array.from({ length: 40 }, (_, i) => `The song number ${i} of the album`).join('\n'),
  );
  writeFileSync(files.held, 'A river.\nA road.\n');
  const begin = (name: string, tokenizer: string, end: string) =>
    runOnCorpus(join(folder, name), files, [
      `corpus.tokenizer=${tokenizer}`,
      `model.config.eos_token_id=${end}`,
    ]);
  // Another end than the one that is known by its name.
  const older = pair({ 'tokenizer_config.json': { tokenizer_class: 'GPT2Tokenizer', eos_token: '!' } });
  const { context } = await begin('older', older, 'null');
  const plain = await begin('plain', shipped, '1');
  const [done, expected] = [await buildCorpus(context), await buildCorpus(plain.context)];
  expect(endTokenOf(done)).toBe(1);
  const { train, validation, test: held } = expected.hashes;
  expect(done.hashes).toMatchObject({ train, validation, test: held });

  renameSync(older, `${older}-moved`);
  expect((await buildCorpus(context)).finished).toBe(done.finished);
});

test('a recipe is checked with what its tokenizer needs', () => {
  const load = (tokenizer: string) => () => loadRecipe(tiny, [`corpus.tokenizer=${tokenizer}`]);
  expect(load(pair({ 'tokenizer_config.json': { tokenizer_class: 'GPT2Tokenizer' } }))).not.toThrow();
  expect(load(folderWith({}))).toThrow(RequestError);
  expect(load(folderWith({ 'tokenizer.model': 'x' }))).toThrow(
    expect.objectContaining({ message: expect.stringContaining('no tokenizer'), key: 'corpus.tokenizer' }),
  );
  expect(load(pair({ 'tokenizer_config.json': { tokenizer_class: 'BertTokenizer' } }))).toThrow(
    expect.objectContaining({ expected: expect.stringContaining('Qwen2Tokenizer') }),
  );
});

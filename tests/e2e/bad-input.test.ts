/** Requests, recipes and corpora that are wrong: refused before anything is trained, and right once they are mended. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { accepted, halfWritten, refused } from './refusals.js';

const ROOT = new URL('../..', import.meta.url).pathname;
const base = mkdtempSync(join(tmpdir(), 'disco-bad-input-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

function write(name: string, content: string | Uint8Array): string {
  const file = join(base, name);
  writeFileSync(file, content);
  return file;
}

/** The tiny recipe as somebody's own file, with one text replaced. */
function recipeWith(name: string, from: string, to: string): string {
  const text = readFileSync(join(ROOT, 'recipes/tiny.yaml'), 'utf8').replaceAll(
    '../data',
    join(ROOT, 'data'),
  );
  expect(text).toContain(from);
  return write(name, text.replace(from, to));
}

const lineOf = (file: string, word: string) => readFileSync(file, 'utf8').split(word)[0]?.split('\n').length;

const tinyConfig = {
  model_type: 'qwen2_moe',
  vocab_size: 4096,
  hidden_size: 32,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  moe_intermediate_size: 32,
  shared_expert_intermediate_size: 32,
  num_experts: 2,
  num_experts_per_tok: 1,
};
const gone = join(base, 'gone.txt');
const empty = write('empty.txt', '');
const misspelt = recipeWith('misspelt.yaml', '  batchSize: 4', '  batchsize: 4');
const newer = recipeWith('newer.yaml', 'format: 1', 'format: 2');
const scaled = write(
  'scaled.json',
  JSON.stringify({ ...tinyConfig, rope_scaling: { type: 'linear', factor: 2 } }),
);
const unknown = write('unknown.json', JSON.stringify({ ...tinyConfig, num_expert: 4 }));
const gpt2 = write('gpt2.json', JSON.stringify({ ...tinyConfig, model_type: 'gpt2' }));
const bare = mkdtempSync(join(base, 'bare-'));
const cut = write('cut.json', JSON.stringify(tinyConfig).slice(0, -20));

describe.concurrent('refused in the first second, with no folder made', () => {
  it.each<[what: string, args: string[], says: (string | RegExp)[]]>([
    [
      'a missing corpus file',
      ['tiny', `corpus.train.path=${gone}`],
      ['corpus.train.path', 'no such file', gone],
    ],
    [
      'an empty corpus file',
      ['tiny', `corpus.train.path=${empty}`],
      ['corpus.train.path', 'an empty file', empty],
    ],
    [
      'a folder of nothing as corpus',
      ['tiny', `corpus.test.path=${bare}`],
      ['corpus.test.path', 'there is no file to read here', bare],
    ],
    [
      'an unknown key',
      [misspelt],
      [
        `${misspelt}:${lineOf(misspelt, 'batchsize')}`,
        'unknown key',
        'train.batchsize',
        'did you mean train.batchSize?',
      ],
    ],
    [
      'a wrong type',
      ['tiny', 'train.batchSize=many'],
      ['train.batchSize', 'wrong type', 'a whole number', '"many"'],
    ],
    [
      'one expert',
      ['tiny', 'model.config.num_experts=1'],
      ['model.config.num_experts', 'at least 2', /found: +1/],
    ],
    [
      'top-k above E',
      ['tiny', 'model.config.num_experts_per_tok=3'],
      ['model.config.num_experts_per_tok', 'at most num_experts = 2', /found: +3/],
    ],
    [
      'an unsupported field of config.json',
      ['tiny', `model.config=${scaled}`],
      [scaled, 'rope_scaling', /expected: null/, '"linear"'],
    ],
    [
      'an unknown field of config.json',
      ['tiny', `model.config=${unknown}`],
      [unknown, 'num_expert', 'did you mean num_experts?'],
    ],
    ['another kind of model', ['tiny', `model.config=${gpt2}`], [gpt2, 'model_type', 'qwen2_moe', '"gpt2"']],
    ['a config.json that is cut off', ['tiny', `model.config=${cut}`], ['model.config', cut]],
    ['a recipe of a newer format', [newer], ['format', 'newer version of moe-disco']],
    ['a recipe that is not there', ['tinny'], ['There is no such recipe', 'tinny']],
    ['a recipe that is no YAML', [write('bad.yaml', 'a: [1\nb: 2')], ['not YAML', 'line ']],
  ])('%s', async (what, args, says) => {
    const into = join(base, what.replaceAll(' ', '-'));
    await refused(['run', ...args, '--into', into], 2, says);
    expect(existsSync(into)).toBe(false);
  });

  it('check refuses the same, and names every fault at once', async () => {
    const args = ['tiny', 'model.config.num_experts=1', 'train.microBatch=3', `corpus.train.path=${gone}`];
    await refused(['check', ...args.slice(0, 3)], 2, ['2 faults', 'num_experts', 'train.microBatch']);
    await refused(['check', 'tiny', `model.config=${scaled}`], 2, ['rope_scaling']);
    await refused(['run', ...args, '--into', join(base, 'all')], 2, [
      '3 faults',
      'num_experts',
      'no such file',
    ]);
  });
});

describe.concurrent('corpora: refused before anything is trained; mended, the same folder goes on', () => {
  const twice = 'A line of text.\nAnother line of text.\n';
  it.each<[what: string, bad: string | Uint8Array, overrides: string[], says: (string | RegExp)[]]>([
    ['blank', '\n  \n\n', [], ['train corpus has no documents', 'not blank']],
    [
      'not UTF-8',
      Buffer.concat([Buffer.from('one\ntwo\nthr'), Buffer.from([0xe9, 0x0a])]),
      [],
      ['not UTF-8', 'line 3, byte 11', 'bytes e9', 'iconv'],
    ],
    [
      'JSONL with a broken line',
      '{"text": "one"}\n{"text": "two"}\n{"text": "three}\n{"text": "four"}\n',
      ['corpus.train.format=jsonl'],
      ['not JSON', 'line 3'],
    ],
    [
      'fewer documents than experts',
      'One line only.\n',
      [],
      ['fewer training documents', 'at least 2', /found: +1/],
    ],
  ])('%s', async (what, bad, overrides, says) => {
    const name = what.replaceAll(' ', '-');
    const file = write(`${name}.txt`, bad);
    const into = join(base, `run-${name}`);
    const args = ['tiny', `corpus.train.path=${file}`, ...overrides];
    await refused(['run', ...args, '--into', into], 2, [file, ...says]);
    expect(halfWritten(into)).toEqual([]);
    expect(existsSync(join(into, 'partition'))).toBe(false);
    const good = overrides.length > 0 ? '{"text": "one"}\n{"text": "two"}\n' : twice;
    writeFileSync(file, good);
    await accepted(['corpus', into]);
    expect(existsSync(join(into, 'corpus', 'DONE'))).toBe(true);
  });

  it('a run in which nothing was made takes a mended recipe', async () => {
    const file = write('documents.txt', twice);
    const into = join(base, 'mended-recipe');
    const recipe = (unit: string) => ['tiny', `corpus.train.path=${file}`, `corpus.unit=${unit}`];
    await refused(['run', ...recipe('document'), '--into', into], 2, [
      'fewer training documents',
      'unit: row',
    ]);
    const [name = '', ...overrides] = recipe('row');
    await accepted(['corpus', into, '--recipe', name, ...overrides]);
  });
});

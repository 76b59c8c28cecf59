import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { TextTokenizer } from '../../src/corpus/tokenizer.js';
import { DataError, RequestError } from '../../src/errors.js';
import { temporaryFolder } from './stores.js';

const shipped = new URL('../../data/tokenizer/bpe-4096.json', import.meta.url).pathname;
const golden = new URL('../golden/corpus/bpe-4096.json', import.meta.url).pathname;

function file(content: unknown): string {
  const path = join(temporaryFolder(), 'tokenizer.json');
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

const special = (id: number, content: string) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

/** A small tokenizer built like Llama-2's: special tokens inside the vocabulary, unknown bytes as <0x..>. */
function llamaLike(more: Record<string, unknown> = {}, model: Record<string, unknown> = {}) {
  const vocab: Record<string, number> = { '<unk>': 0, '<s>': 1, '</s>': 2 };
  for (let byte = 0; byte < 256; byte++) {
    vocab[`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`] = 3 + byte;
  }
  for (const piece of ['▁', '<', '>', 'u', 'n', 'k', 's', '/', 'a', 'b', 'un', 'unk', '▁a', '▁<']) {
    vocab[piece] = Object.keys(vocab).length;
  }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [special(0, '<unk>'), special(1, '<s>'), special(2, '</s>')],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: null,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      vocab,
      merges: ['u n', 'un k', '▁ a', '▁ <'],
      ...model,
    },
    ...more,
  };
}

/** The ids as tokens of `json`'s vocabulary. */
async function tokens(json: ReturnType<typeof llamaLike>, text: string): Promise<string[]> {
  const tokenizer = await TextTokenizer.load(file(json));
  const names = new Map(Object.entries(json.model.vocab).map(([token, id]) => [id, token]));
  for (const { id, content } of json.added_tokens) names.set(id, content);
  return [...(await tokenizer.encode([text]))[0]!].map((id) => names.get(id)!);
}

describe('the shipped tokenizer', () => {
  test('gives exactly the ids of Python on adversarial texts', async () => {
    const { cases } = JSON.parse(readFileSync(golden, 'utf8')) as {
      cases: { text: string; ids: number[] }[];
    };
    const tokenizer = await TextTokenizer.load(shipped);
    const found = await tokenizer.encode(cases.map(({ text }) => text));
    for (const [i, { text, ids }] of cases.entries()) {
      expect([...found[i]!], JSON.stringify(text).slice(0, 80)).toEqual(ids);
    }
    expect(cases.length).toBeGreaterThan(35);
  });

  test('its end token, largest id and text', async () => {
    const tokenizer = await TextTokenizer.load(shipped);
    expect(tokenizer).toMatchObject({ eos: { id: 0, token: '<|endoftext|>' }, largestId: 4095 });
    const text = ' = Title = \n The <unk> of 中文 \u{1f600} <|endoftext|> . \n';
    const [ids] = await tokenizer.encode([text]);
    expect(ids).not.toContain(0);
    expect(await tokenizer.decode([...ids!, 0])).toBe(text);
    expect(await tokenizer.encode([])).toEqual([]);
  });
});

describe('special tokens in text are text', () => {
  test('where they are in the vocabulary of the model', async () => {
    expect(await tokens(llamaLike(), 'a <unk> </s>b<s>')).toEqual([
      '▁a',
      '▁<',
      'unk',
      '>',
      '▁<',
      '/',
      's',
      '>',
      'b',
      '<',
      's',
      '>',
    ]);
  });

  test('where they are added behind it, and the ids of added words behind them stay', async () => {
    const base = llamaLike();
    const size = Object.keys(base.model.vocab).length;
    const added = [
      ...base.added_tokens,
      special(size, '<s>a'),
      { ...special(size + 1, 'kk'), special: false },
      special(size + 2, 'ba'),
      { ...special(size + 3, 'bb'), special: false },
    ];
    expect(await tokens(llamaLike({ added_tokens: added }), '<s>a')).toEqual(['▁<', 's', '>', 'a']);
    expect(await tokens(llamaLike({ added_tokens: added }), 'ba')).toEqual(['▁', 'b', 'a']);
    expect(await tokens(llamaLike({ added_tokens: added }), 'kkbb')).toEqual(['kk', 'bb']);
    expect(await TextTokenizer.load(file(llamaLike({ added_tokens: added })))).toMatchObject({
      largestId: size + 3,
    });
  });

  test('a model that finds them as whole words is refused, the unknown apart', async () => {
    const model = { type: 'WordLevel', vocab: { a: 0, '[UNK]': 1, '[END]': 2 }, unk_token: '[UNK]' };
    const json = (added: unknown[]) => ({
      version: '1.0',
      added_tokens: added,
      model,
      pre_tokenizer: { type: 'WhitespaceSplit' },
    });
    const fine = await TextTokenizer.load(file(json([special(1, '[UNK]')])));
    expect((await fine.encode(['a b [UNK] a']))[0]).toEqual(Int32Array.of(0, 1, 1, 0));
    const refused = TextTokenizer.load(file(json([special(1, '[UNK]'), special(2, '[END]')])));
    await expect(refused).rejects.toMatchObject({ found: expect.stringContaining('[END]') });
  });
});

test('truncation, padding, dropout and added ends of the file are off', async () => {
  const tokenizer = await TextTokenizer.load(
    file(
      llamaLike(
        {
          truncation: { direction: 'Right', max_length: 2, strategy: 'LongestFirst', stride: 0 },
          padding: {
            strategy: { Fixed: 50 },
            direction: 'Right',
            pad_to_multiple_of: null,
            pad_id: 0,
            pad_type_id: 0,
            pad_token: '<unk>',
          },
        },
        { dropout: 0.9 },
      ),
    ),
  );
  const found = await tokenizer.encode([...Array.from({ length: 20 }, () => 'unk unk'), '']);
  expect(found.pop()!.length).toBe(0);
  for (const ids of found) expect(ids).toEqual(found[0]);
  expect(found[0]!.length).toBe(4);
  expect(found[0]).not.toContain(1);
});

describe('the end token', () => {
  const end = async (json: unknown, wanted?: number | null) =>
    (await TextTokenizer.load(file(json), wanted)).eos;

  test("is the config's, else one of the usual names, else the only special token", async () => {
    expect(await end(llamaLike())).toEqual({ id: 2, token: '</s>' });
    expect(await end(llamaLike(), 1)).toEqual({ id: 1, token: '<s>' });
    expect(await end(llamaLike({ added_tokens: [special(0, '<unk>')] }))).toEqual({ id: 0, token: '<unk>' });
    expect(await end(llamaLike({ added_tokens: [] }), 2)).toEqual({ id: 2, token: '</s>' });
  });

  test('is asked for where it cannot be told', async () => {
    const several = llamaLike({ added_tokens: [special(0, '<unk>'), special(1, '<s>')] });
    await expect(end(several)).rejects.toThrow(DataError);
    await expect(end(llamaLike({ added_tokens: [] }))).rejects.toMatchObject({
      hint: expect.stringContaining('eos_token_id'),
    });
    await expect(end(llamaLike(), 5000)).rejects.toThrow(RequestError);
  });
});

describe('hostile files', () => {
  const valid = llamaLike();
  test.each<[string, unknown]>([
    ['nothing', ''],
    ['no JSON', '{"model":'],
    ['an array', []],
    ['null', 'null'],
    ['no model', {}],
    ['a model that is a string', { model: 'BPE' }],
    ['an unknown model', { model: { type: 'Magic', vocab: {} } }],
    ['merges of unknown pieces', llamaLike({}, { merges: ['q q'] })],
    ['a negative id', llamaLike({}, { vocab: { ...valid.model.vocab, x: -1 } })],
    ['an id of 2^32', llamaLike({}, { vocab: { ...valid.model.vocab, x: 2 ** 32 } })],
    ['an id above 2^31', llamaLike({}, { vocab: { ...valid.model.vocab, x: 2 ** 32 - 1 } })],
    [
      'an added token with a string for an id',
      llamaLike({ added_tokens: [{ ...special(0, 'x'), id: '0' }] }),
    ],
    ['an added token of another id than its place', llamaLike({ added_tokens: [special(100_000, '<far>')] })],
    ['an added token without content', llamaLike({ added_tokens: [special(300, '')] })],
    ['added tokens that are no list', llamaLike({ added_tokens: {} })],
    ['an unknown normalizer', llamaLike({ normalizer: { type: 'Nothing' } })],
    [
      'a broken regular expression',
      llamaLike({
        pre_tokenizer: { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated', invert: false },
      }),
    ],
  ])('%s is refused with the file named', async (_, content) => {
    const path = file(content);
    await expect(TextTokenizer.load(path)).rejects.toThrow(DataError);
    await expect(TextTokenizer.load(path)).rejects.toMatchObject({ file: path, exitStatus: 2 });
  });

  test('bytes that are no UTF-8, a missing file, a folder', async () => {
    const path = file('');
    writeFileSync(path, Buffer.concat([readFileSync(shipped).subarray(0, -2), Buffer.from([0xff, 0x7d])]));
    await expect(TextTokenizer.load(path)).rejects.toThrow(DataError);
    await expect(TextTokenizer.load('/nowhere/tokenizer.json')).rejects.toThrow(DataError);
    await expect(TextTokenizer.load(temporaryFolder())).rejects.toMatchObject({ exitStatus: 2 });
  });

  test('a text that the model cannot encode is an error, not a hole', async () => {
    const json = {
      version: '1.0',
      added_tokens: [special(1, '<eos>')],
      model: { type: 'WordLevel', vocab: { a: 0 }, unk_token: '[UNK]' },
    };
    const path = file(json);
    await expect(TextTokenizer.load(path).then((t) => t.encode(['b']))).rejects.toMatchObject({ file: path });
  });
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TextTokenizer } from '../../src/corpus/tokenizer.js';
import { DataError } from '../../src/errors.js';
import { readTextEnds } from '../../src/formats/tokenizer-config.js';
import { readTokenizer, tokenizerFileIn } from '../../src/formats/tokenizer-files.js';
import { folderWith } from '../corpus/genuine-tokenizers.js';

const shipped = new URL('../../data/tokenizer/bpe-4096.json', import.meta.url).pathname;
const bytes = Array.from({ length: 256 }, (_, byte) => Buffer.of(byte));

/** Lines of a .tiktoken: all bytes, then `more`. */
function ranks(more: readonly (string | Buffer)[] = []): string {
  const tokens = [...bytes, ...more.map((token) => Buffer.from(token))];
  return tokens.map((token, rank) => `${token.toString('base64')} ${rank}\n`).join('');
}

/** GPT-2's letters of the bytes 33 to 126 are themselves; that of a space is U+0120. */
function vocabulary(...tokens: string[]): Record<string, number> {
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

async function ids(path: string, text: string): Promise<number[]> {
  const tokenizer = await TextTokenizer.load(path);
  return [...(await tokenizer.encode([text]))[0]!];
}

/** tiktoken's definition: a word that is a token is that; else the adjacent pair of the lowest rank, leftmost first. */
function tiktoken(word: string, rankOf: ReadonlyMap<string, number>): number[] {
  const whole = rankOf.get(word);
  if (whole !== undefined) return [whole];
  const parts = [...word];
  for (;;) {
    const joined = parts.slice(1).map((part, i) => rankOf.get(parts[i]! + part) ?? Number.POSITIVE_INFINITY);
    const lowest = Math.min(...joined);
    if (lowest === Number.POSITIVE_INFINITY) return parts.map((part) => rankOf.get(part)!);
    const at = joined.indexOf(lowest);
    parts.splice(at, 2, parts[at]! + parts[at + 1]!);
  }
}

describe('qwen.tiktoken', () => {
  test('gives the ids of tiktoken for any ranks that BPE may have found, and refuses others', async () => {
    const word = fc
      .array(fc.constantFrom('a', 'b', 'c'), { minLength: 2, maxLength: 14 })
      .map((l) => l.join(''));
    const joints = fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 10 });
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(joints, fc.array(word, { minLength: 1, maxLength: 20 }), async (choices, words) => {
        const tokens = ['a', 'b', 'c'];
        for (const [i, j] of choices) {
          const token = tokens[i % tokens.length]! + tokens[j % tokens.length]!;
          if (!tokens.includes(token)) tokens.push(token);
        }
        const rankOf = new Map(bytes.map((byte, rank) => [byte.toString('latin1'), rank]));
        for (const token of tokens.slice(3)) rankOf.set(token, rankOf.size);
        const folder = folderWith({ 'qwen.tiktoken': ranks(tokens.slice(3)) });
        const loaded = await TextTokenizer.load(folder).catch((error: unknown) => {
          expect(error).toMatchObject({ exitStatus: 2, expected: expect.stringContaining('BPE') });
        });
        if (!loaded) return;
        accepted++;
        for (const [i, found] of (await loaded.encode(words)).entries()) {
          expect([...found]).toEqual(tiktoken(words[i]!, rankOf));
        }
      }),
      { numRuns: 60 },
    );
    expect(accepted).toBeGreaterThan(20);
    const inverted = folderWith({ 'qwen.tiktoken': ranks(['aaa', 'aa']) });
    expect(() => readTokenizer(inverted)).toThrow(expect.objectContaining({ key: 'line 257' }));
  });

  test('may be given by its own path; its special tokens stand behind the ranks', async () => {
    const folder = folderWith({ 'qwen.tiktoken': ranks(['ab']) });
    const tokenizer = await TextTokenizer.load(join(folder, 'qwen.tiktoken'));
    expect(tokenizer).toMatchObject({ largestId: 259, eos: { id: 257, token: '<|endoftext|>' } });
    const copy = folderWith({ 'tokenizer.json': tokenizer.bytes });
    expect((await TextTokenizer.load(copy)).sha256).toBe(tokenizer.sha256);
    expect(await ids(copy, 'cab')).toEqual([99, 256]);
  });

  test.each([
    ['nothing', ''],
    ['no base64', ranks().replace('AA== 0', '!A== 0')],
    ['base64 with loose bits', ranks().replace('AA== 0', 'AB== 0')],
    ['a rank left out', ranks().replace(' 7\n', ' 8\n')],
    ['no rank', ranks().replace(' 7\n', '\n')],
    ['a token twice', ranks(['ab', 'ab'])],
    ['a byte without a token', ranks(['ab']).replace(/^\/w== 255\n/m, 'YmM= 255\n')],
    ['an enormous token', ranks(['a'.repeat(5000)])],
    ['no UTF-8', Buffer.from([0xff, 0xfe])],
  ])('%s is refused with the file named', (_, content) => {
    const folder = folderWith({ 'qwen.tiktoken': content });
    expect(() => readTokenizer(folder)).toThrow(DataError);
    expect(() => readTokenizer(folder)).toThrow(
      expect.objectContaining({ file: join(folder, 'qwen.tiktoken'), exitStatus: 2 }),
    );
  });
});

describe('vocab.json and merges.txt', () => {
  const pair = (more: Record<string, unknown> = {}) => {
    const vocab = vocabulary('a', 'b', '1', '2', '12', '\u0120', '\u0120a', '<|endoftext|>');
    return { 'vocab.json': vocab, 'merges.txt': '#version: 0.2\n1 2\n\u0120 a\n', ...more };
  };

  test("are GPT-2's where they hold its end token and nothing says otherwise", async () => {
    const folder = folderWith(pair());
    expect(await ids(folder, ' a12')).toEqual([6, 4]);
    expect(await ids(join(folder, 'vocab.json'), ' a12')).toEqual([6, 4]);
    expect(await ids(join(folder, 'merges.txt'), ' a12')).toEqual([6, 4]);
    expect((await TextTokenizer.load(folder)).eos).toEqual({ id: 7, token: '<|endoftext|>' });
  });

  test("are Qwen's where its class or model says so: every digit a word, special tokens behind", async () => {
    for (const more of [
      { 'tokenizer_config.json': { tokenizer_class: 'Qwen2Tokenizer' } },
      { 'tokenizer_config.json': { tokenizer_class: 'Qwen2TokenizerFast' } },
      { 'config.json': { model_type: 'qwen2_moe' } },
    ]) {
      const vocab = vocabulary('a', 'b', '1', '2', '12', '\u0120', '\u0120a');
      const folder = folderWith(pair({ 'vocab.json': vocab, ...more }));
      expect(await ids(folder, ' a12')).toEqual([6, 2, 3]);
      expect(await TextTokenizer.load(folder)).toMatchObject({ largestId: 9, eos: { id: 7 } });
    }
  });

  test('take added tokens and the space before the text from tokenizer_config.json', async () => {
    const folder = folderWith(
      pair({
        'tokenizer_config.json': {
          tokenizer_class: 'GPT2Tokenizer',
          add_prefix_space: true,
          eos_token: { __type: 'AddedToken', content: '<stop>' },
          added_tokens_decoder: {
            7: { content: '<|endoftext|>', special: true, normalized: true },
            9: { content: '<stop>', special: true },
            8: { content: 'bb', special: false, normalized: false },
          },
        },
      }),
    );
    expect(await ids(folder, 'abb')).toEqual([6, 8]);
    expect((await TextTokenizer.load(folder)).eos).toEqual({ id: 9, token: '<stop>' });
  });

  test.each<[string, Record<string, unknown>, string]>([
    ['no end token and no config', { 'vocab.json': { a: 0, b: 1 }, 'merges.txt': '' }, 'tokenizer_class'],
    [
      'another class',
      pair({ 'tokenizer_config.json': { tokenizer_class: 'RobertaTokenizer' } }),
      'tokenizer_class',
    ],
    ['another model', pair({ 'config.json': { model_type: 'roberta' } }), 'model_type'],
    ['a merge of three', pair({ 'merges.txt': '1 2\n\u0120 a b\n' }), 'merge 2'],
  ])('%s: what is needed is said', (_, files, key) => {
    expect(() => readTokenizer(folderWith(files))).toThrow(
      expect.objectContaining({ key, exitStatus: 2, found: expect.any(String) }),
    );
  });

  test.each<[string, Record<string, unknown>]>([
    ['a vocabulary that is no JSON', pair({ 'vocab.json': '{' })],
    ['a vocabulary of lists', pair({ 'vocab.json': { a: [1] } })],
    ['an id twice', pair({ 'vocab.json': { a: 0, b: 0, '<|endoftext|>': 1 }, 'merges.txt': '' })],
    ['a merge of unknown pieces', pair({ 'merges.txt': 'q q' })],
    ['a tokenizer_config.json that is none', pair({ 'tokenizer_config.json': { add_bos_token: 'yes' } })],
    ['merges that are no UTF-8', pair({ 'merges.txt': Buffer.from([0xff]) })],
    [
      'an added token of an id that cannot be',
      pair({
        'tokenizer_config.json': {
          tokenizer_class: 'GPT2Tokenizer',
          added_tokens_decoder: { 99: { content: 'x' } },
        },
      }),
    ],
  ])('%s is refused', async (_, files) => {
    await expect(TextTokenizer.load(folderWith(files))).rejects.toThrow(DataError);
  });
});

describe('a folder', () => {
  test('is read by its tokenizer.json first', async () => {
    const files = { 'tokenizer.json': readFileSync(shipped), 'qwen.tiktoken': '', 'vocab.json': '' };
    const folder = folderWith(files);
    expect(tokenizerFileIn(folder)).toBe(join(folder, 'tokenizer.json'));
    expect((await TextTokenizer.load(folder)).sha256).toBe((await TextTokenizer.load(shipped)).sha256);
  });

  test.each<[string, Record<string, unknown>, object]>([
    ['without any', {}, { found: 'none of them' }],
    [
      'with tokenizer.model',
      { 'tokenizer.model': 'x' },
      { found: expect.stringContaining('tokenizer.model') },
    ],
    [
      'with half of a pair',
      { 'vocab.json': {} },
      { found: 'no such file', file: expect.stringMatching('merges.txt$') },
    ],
  ])('%s is refused with what is needed', (_, files, details) => {
    const refused = expect.objectContaining({ exitStatus: 2, hint: expect.any(String), ...details });
    expect(() => readTokenizer(folderWith(files))).toThrow(refused);
  });
});

describe('the ends of texts', () => {
  const idOf = (token: string) => ({ '<a>': 3, '<b>': 4 })[token] ?? null;
  const both = {
    'config.json': { eos_token_id: 5, bos_token_id: 6 },
    'generation_config.json': { eos_token_id: [7, 8] },
    'tokenizer_config.json': { bos_token: '<a>', eos_token: { content: '<b>' } },
  };

  test('documents: config.json first; generation: generation_config.json first, all of them', () => {
    const folder = folderWith(both);
    expect(readTextEnds(folder, 'documents', idOf)).toMatchObject({ bos: 6, eos: [5] });
    expect(readTextEnds(folder, 'generation', idOf)).toMatchObject({ bos: 6, eos: [7, 8] });
  });

  test('tokenizer_config.json names tokens where the others name none', () => {
    const folder = folderWith({
      ...both,
      'config.json': { eos_token_id: null },
      'generation_config.json': {},
    });
    expect(readTextEnds(folder, 'documents', idOf)).toMatchObject({ bos: 3, eos: [4] });
    expect(readTextEnds(folderWith({}), 'documents', idOf)).toEqual({ bos: null, eos: [], file: null });
  });

  test.each<[Record<string, unknown>, string]>([
    [{ 'tokenizer_config.json': { eos_token: '<c>' } }, 'tokenizer_config.json'],
    [{ 'config.json': { eos_token_id: 'x' } }, 'config.json'],
    [{ 'generation_config.json': { eos_token_id: [] } }, 'generation_config.json'],
    [{ 'config.json': { bos_token_id: -1 } }, 'config.json'],
    [{ 'config.json': '[' }, 'config.json'],
  ])('%j is refused', (files, file) => {
    const folder = folderWith(files);
    expect(() => readTextEnds(folder, 'generation', idOf)).toThrow(
      expect.objectContaining({ file: join(folder, file), exitStatus: 2 }),
    );
  });

  test("end documents of a tokenizer that lies beside its model's config", async () => {
    const tokenizer = readFileSync(shipped);
    const beside = (config: object) => folderWith({ 'tokenizer.json': tokenizer, 'config.json': config });
    expect((await TextTokenizer.load(beside({ eos_token_id: [7, 0] }))).eos.id).toBe(7);
    expect((await TextTokenizer.load(beside({ eos_token_id: 7 }), 0)).eos.id).toBe(0);
    await expect(TextTokenizer.load(beside({ eos_token_id: 9999 }))).rejects.toMatchObject({
      file: expect.stringMatching('config.json$'),
      key: 'eos_token_id',
    });
  });
});

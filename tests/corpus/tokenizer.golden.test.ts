/**
 * Qwen, Llama-2 and GPT-2: the 46 vectors of llama.cpp, and adversarial Unicode as tiktoken and sentencepiece read it.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { TextTokenizer } from '../../src/corpus/tokenizer.js';
import { goldenTokenizer, gpt2Folder, llamaFolder, qwenFolder } from './genuine-tokenizers.js';

const texts = goldenTokenizer('vectors.txt').toString().split('\n__ggml_vocab_test__\n').slice(0, 46);
const { cases } = JSON.parse(goldenTokenizer('adversarial.json.gz').toString()) as {
  cases: { text: string; qwen: number[]; llama2: number[]; gpt2: number[] }[];
};

const tokenizers = [
  ['qwen', 'vectors-qwen2.txt', qwenFolder, { largestId: 151_645, eos: '<|endoftext|>' }],
  ['llama2', 'vectors-llama-spm.txt', llamaFolder, { largestId: 31_999, eos: '</s>' }],
  ['gpt2', 'vectors-gpt-2.txt', gpt2Folder, { largestId: 50_256, eos: '<|endoftext|>' }],
] as const;

/** What each keeps of a text; a lone surrogate has become U+FFFD. */
const kept = {
  qwen: (text: string) => text.normalize('NFC'),
  llama2: (text: string) => text.replaceAll('\u2581', ' '),
  gpt2: (text: string) => text,
};

test.each(tokenizers)(
  '%s: size, 46 vectors, adversarial Unicode and back',
  async (name, vectors, folder, facts) => {
    const tokenizer = await TextTokenizer.load(folder());
    expect({ largestId: tokenizer.largestId, eos: tokenizer.eos.token }).toEqual(facts);

    const expected = goldenTokenizer(vectors)
      .toString()
      .split('\n')
      .slice(0, 46)
      .map((line) => line.split(' ').filter(Boolean).map(Number));
    const ids = await tokenizer.encode(texts);
    expect(ids.map((list) => [...list])).toEqual(expected);
    expect(expected.filter((list) => list.length > 0)).toHaveLength(45);

    const found = await tokenizer.encode(cases.map(({ text }) => text));
    for (const [i, { text, [name]: wanted }] of cases.entries()) {
      const shown = JSON.stringify(text).slice(0, 100);
      expect([...found[i]!].join(' '), shown).toBe(wanted.join(' '));
      expect(await tokenizer.decode(found[i]!), shown).toBe(kept[name](Buffer.from(text).toString()));
    }
    expect(cases.length).toBeGreaterThan(100);
  },
);

test('qwen.tiktoken is unpacked byte for byte', () => {
  const hash = createHash('sha256')
    .update(readFileSync(join(qwenFolder(), 'qwen.tiktoken')))
    .digest('hex');
  expect(hash).toBe('b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186');
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PromptTokenizer } from '../../src/generate/prompt-tokenizer.js';
import { TextStream } from '../../src/generate/text-stream.js';
import { folderWith, gpt2Folder, llamaFolder } from '../corpus/genuine-tokenizers.js';

const text =
  'Zoë: 中文, \u{1f468}\u200d\u{1f469}\u200d\u{1f467} \u{1f600}\u{1f600} e\u0301 नमस्ते  two  spaces\n\n\u{20000}.';

/** What is given out for each token after a prompt, and at the end. */
async function pieces(tokenizer: PromptTokenizer, prompt: number[], ids: number[]): Promise<string[]> {
  const stream = new TextStream((window) => tokenizer.decode(window), prompt);
  const found: string[] = [];
  for (const id of ids) found.push(await stream.push(id));
  found.push(await stream.end());
  return found;
}

test.each([
  ['GPT-2', gpt2Folder],
  ['Llama-2', llamaFolder],
])('%s: whole characters, which together are the text behind the prompt', async (_, folder) => {
  const tokenizer = PromptTokenizer.load(folder());
  const all = await tokenizer.encode(text);
  const whole = await tokenizer.decode(all);
  expect(whole).toBe(text);
  for (let cut = 1; cut < all.length; cut++) {
    const before = await tokenizer.decode(all.slice(0, cut));
    // A prompt is text: one that ends inside a character there is none.
    if (before.endsWith('\uFFFD')) continue;
    const found = await pieces(tokenizer, all.slice(0, cut), all.slice(cut));
    expect(before + found.join('')).toBe(text);
    for (const piece of found) {
      expect(piece).not.toContain('\uFFFD');
      expect(piece).toBe(Buffer.from(piece).toString());
    }
  }
});

test('text comes with the token that completes it, not later', async () => {
  const tokenizer = PromptTokenizer.load(gpt2Folder());
  const ids = await tokenizer.encode(' is \u{1f600}!');
  const found = await pieces(tokenizer, await tokenizer.encode('This'), ids);
  expect(found.filter((piece) => piece !== '')).toEqual([' is', ' \u{1f600}', '!']);
  expect(found.at(-1)).toBe('');
});

test('bytes that are no character are shown as such, at the latest at the end', async () => {
  const letters = [...'abcdefgh', '\u00e2', '\u00bf'];
  const vocab = Object.fromEntries(letters.map((letter, id) => [letter, id]));
  const tokenizer = PromptTokenizer.load(
    folderWith({
      'vocab.json': vocab,
      'merges.txt': '',
      'tokenizer_config.json': { tokenizer_class: 'GPT2Tokenizer' },
    }),
  );
  expect(await pieces(tokenizer, [0], [8, 1, 8, 9])).toEqual(['', '\uFFFDb', '', '', '\uFFFD']);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(9), { maxLength: 12 }), async (ids) => {
      const found = await pieces(tokenizer, [0], ids);
      expect(`a${found.join('')}`).toBe(await tokenizer.decode([0, ...ids]));
    }),
    { numRuns: 50 },
  );
});

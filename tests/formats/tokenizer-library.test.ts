import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { DataError } from '../../src/errors.js';
import { HarnessTokenizer } from '../../src/evaluate/harness/tokenizer.js';
import { PromptTokenizer } from '../../src/generate/prompt-tokenizer.js';

const root = mkdtempSync(join(tmpdir(), 'disco-tokenizer-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folders = 0;
function folderWith(model: object): string {
  const folder = mkdtempSync(join(root, `${folders++}-`));
  const ends = [{ id: 3, content: '<end>', special: true, single_word: false, lstrip: false, rstrip: false }];
  const added = ends.map((token) => ({ ...token, normalized: false }));
  writeFileSync(
    join(folder, 'tokenizer.json'),
    JSON.stringify({
      ...{
        version: '1.0',
        truncation: { max_length: 2, stride: 0, strategy: 'LongestFirst', direction: 'Right' },
      },
      ...{ padding: null, added_tokens: added, normalizer: null, pre_tokenizer: null, post_processor: null },
      ...{ decoder: null, model },
    }),
  );
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ eos_token_id: 3 }));
  return folder;
}

const bpe = { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: [['a', 'b']] };

describe('the tokenizers of prompts and of evaluation', () => {
  it('drop nothing at random and cut nothing, whatever tokenizer.json says of training', async () => {
    const folder = folderWith({ ...bpe, dropout: 1 });
    expect(await PromptTokenizer.load(folder).encode('ababab')).toEqual([2, 2, 2]);
    expect(await HarnessTokenizer.load(folder).encode(['ababab'])).toEqual([[2, 2, 2]]);
  });

  it('refuse with the name of the file what the library does not know', () => {
    const folder = folderWith({ type: 'Telepathy', vocab: {} });
    for (const load of [PromptTokenizer.load, HarnessTokenizer.load]) {
      expect(() => load(folder)).toThrow(DataError);
      expect(() => load(folder)).toThrow(expect.objectContaining({ file: join(folder, 'tokenizer.json') }));
    }
  });
});

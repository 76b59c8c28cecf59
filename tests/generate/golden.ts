/** Models of tests/golden/generate, and a tokenizer for their 97 tokens in which each of 96 is one character. */
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from '../corpus/stores.js';

const root = new URL('../golden/generate/', import.meta.url).pathname;

/** What transformers generated after a prompt. */
export interface GoldenText {
  prompt: number[];
  eos: number | null;
  tokens: number[];
}

/** Names of the families. */
export const families = readdirSync(root, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

/** The folder of a family's model. */
export function goldenFolder(family: string): string {
  return join(root, family);
}

/** A JSON file of tests/golden/generate. */
export function goldenJson<T>(path: string): T {
  return JSON.parse(readFileSync(join(root, path), 'utf8')) as T;
}

/** The character of each token; the last token, 96, is <|endoftext|>. */
const CHARACTERS = [...Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)), ' ', '\n'];

/** The text of tokens, special ones left out. */
export function textOf(tokens: readonly number[]): string {
  return tokens.map((token) => CHARACTERS[token] ?? '').join('');
}

/** A copy of a family's folder with that tokenizer, and with `changes` to its config.json. */
export function modelWithTokenizer(family: string, changes: Record<string, unknown> = {}): string {
  const folder = join(temporaryFolder(), family);
  mkdirSync(folder);
  cpSync(goldenFolder(family), folder, { recursive: true });
  const config = goldenJson<object>(`${family}/config.json`);
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, ...changes }));
  const letters = [...CHARACTERS.slice(0, 94), '\u0120', '\u010A', '<|endoftext|>'];
  writeFileSync(
    join(folder, 'vocab.json'),
    JSON.stringify(Object.fromEntries(letters.map((letter, id) => [letter, id]))),
  );
  writeFileSync(join(folder, 'merges.txt'), '#version: 0.2\n');
  writeFileSync(join(folder, 'tokenizer_config.json'), '{"tokenizer_class":"GPT2Tokenizer"}');
  return folder;
}

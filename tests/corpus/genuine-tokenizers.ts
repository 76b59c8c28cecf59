/** The genuine tokenizers of tests/golden/tokenizers, unpacked as their makers publish them. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { temporaryFolder } from './stores.js';

const golden = (name: string) => new URL(`../golden/tokenizers/${name}`, import.meta.url);

/** A file of tests/golden/tokenizers; what ends in .gz is unpacked. */
export function goldenTokenizer(name: string): Buffer {
  const bytes = readFileSync(golden(name));
  return name.endsWith('.gz') ? gunzipSync(bytes) : bytes;
}

/** A new folder with nothing but qwen.tiktoken. */
export function qwenFolder(): string {
  const packed = goldenTokenizer('qwen.tokens.gz');
  const count = 151_643;
  const lines: string[] = [];
  let at = count;
  for (let rank = 0; rank < count; rank++) {
    const length = packed[rank]!;
    lines.push(`${packed.toString('base64', at, at + length)} ${rank}\n`);
    at += length;
  }
  return folderWith({ 'qwen.tiktoken': lines.join('') });
}

/** A new folder with nothing but GPT-2's vocab.json and merges.txt. */
export function gpt2Folder(): string {
  return folderWith({
    'vocab.json': goldenTokenizer('gpt2-vocab.json.gz'),
    'merges.txt': goldenTokenizer('gpt2-merges.txt.gz'),
  });
}

/** A new folder with nothing but Llama-2's tokenizer.json. */
export function llamaFolder(): string {
  return folderWith({ 'tokenizer.json': goldenTokenizer('llama-2.json.gz') });
}

/** A new folder with these files; what is no text or bytes is written as JSON. */
export function folderWith(files: Record<string, unknown>): string {
  const folder = join(temporaryFolder(), 'model');
  mkdirSync(folder);
  for (const [name, content] of Object.entries(files)) {
    const raw = typeof content === 'string' || content instanceof Uint8Array;
    writeFileSync(join(folder, name), raw ? content : JSON.stringify(content));
  }
  return folder;
}

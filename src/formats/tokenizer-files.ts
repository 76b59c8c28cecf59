/**
 * Where a tokenizer lies: a tokenizer.json, or the older files from which one is made in memory, qwen.tiktoken or
 * vocab.json with merges.txt.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { DataError } from '../errors.js';
import { systemFailure } from './system-failure.js';
import { convertMerges, convertRanks } from './tokenizer-convert.js';

/** A tokenizer's file, for messages, and the content of its tokenizer.json. */
export interface TokenizerFile {
  file: string;
  bytes: Buffer;
}

/** What of a folder a tokenizer is made from, in the order in which they are looked for. */
const NAMES = ['tokenizer.json', 'qwen.tiktoken', 'vocab.json'] as const;

/**
 * Reads a tokenizer.
 *
 * @param path a tokenizer.json, a qwen.tiktoken, a vocab.json or merges.txt beside its other half, or a folder
 * with one of these
 * @throws DataError where there is none, saying what is needed, and for files that are malformed
 */
export function readTokenizer(path: string): TokenizerFile {
  const file = isFolder(path) ? fileIn(path) : path;
  const folder = dirname(file);
  const name = basename(file);
  if (name.endsWith('.tiktoken')) return { file, bytes: convertRanks(file, readBytes(file)) };
  if (name !== 'vocab.json' && name !== 'merges.txt') return { file, bytes: readBytes(file) };
  const vocab = join(folder, 'vocab.json');
  const merges = join(folder, 'merges.txt');
  for (const needed of [vocab, merges]) {
    if (existsSync(needed)) continue;
    throw new DataError('vocab.json and merges.txt make a tokenizer only together.', {
      file: needed,
      found: 'no such file',
      hint: `put it beside ${basename(file)}, or use a tokenizer.json`,
    });
  }
  return { file: vocab, bytes: convertMerges(vocab, readBytes(vocab), merges, readBytes(merges)) };
}

/** The file of `folder` that its tokenizer is made from; null where there is none. */
export function tokenizerFileIn(folder: string): string | null {
  const name = NAMES.find((candidate) => existsSync(join(folder, candidate)));
  return name === undefined ? null : join(folder, name);
}

function fileIn(folder: string): string {
  const file = tokenizerFileIn(folder);
  if (file !== null) return file;
  const model = existsSync(join(folder, 'tokenizer.model'));
  throw new DataError('The folder has no tokenizer that can be read.', {
    file: folder,
    expected: 'tokenizer.json; or qwen.tiktoken; or vocab.json with merges.txt',
    found: model ? 'tokenizer.model, which is not read' : 'none of them',
    hint: "transformers writes it: AutoTokenizer.from_pretrained('FOLDER').save_pretrained('FOLDER')",
  });
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function readBytes(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw systemFailure(error, file, 'read');
  }
}

/** The keys of a recipe that name files: made absolute on load, and looked for before anything starts. */
import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DataError } from '../errors.js';
import { isGlob } from '../formats/glob.js';
import { readTokenizer } from '../formats/tokenizer-files.js';
import type { Fault } from './faults.js';
import { isHubPath, parseHubPath } from './hub-path.js';
import type { Recipe } from './schema.js';
import { filesHere, localFiles } from './source-files.js';
import { containerFormat, KNOWN_ENDINGS } from './source-format.js';

const FILE_KEYS = [
  ['corpus', 'train', 'path'],
  ['corpus', 'validation', 'path'],
  ['corpus', 'test', 'path'],
  ['corpus', 'tokenizer'],
  ['partition', 'embedding', 'folder'],
  ['init', 'folder'],
  ['model', 'config'],
];

function mapAt(data: unknown, path: readonly string[], change: (value: unknown) => unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return change(data);
  if (typeof data !== 'object' || data === null || Array.isArray(data) || !Object.hasOwn(data, key))
    return data;
  return { ...data, [key]: mapAt((data as Record<string, unknown>)[key], rest, change) };
}

/**
 * `data` with every file it names made absolute against `base`. Paths on the Hub and values of other types stay as
 * they are.
 */
export function absolutePaths(data: unknown, base: string): unknown {
  const absolute = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(absolute);
    return typeof value === 'string' && value !== '' && !isHubPath(value) ? resolve(base, value) : value;
  };
  return FILE_KEYS.reduce((changed, path) => mapAt(changed, path, absolute), data);
}

/**
 * One fault for every file that `data` (paths absolute) names and that is not there or empty. What lies on the Hub
 * is not looked at.
 */
export function missingFiles(data: unknown): Fault[] {
  const faults: Fault[] = [];
  for (const path of FILE_KEYS) {
    mapAt(data, path, (value) => {
      for (const file of Array.isArray(value) ? value : [value]) {
        const fault = typeof file === 'string' ? faultAt(file, path) : null;
        if (fault !== null) faults.push({ key: path.join('.'), ...fault, found: String(file) });
      }
      return value;
    });
  }
  return faults;
}

function faultAt(file: string, key: readonly string[]): Omit<Fault, 'key'> | null {
  // A tokenizer may be a file or a folder; tokenizerFaults looks into it.
  if (key.at(-1) === 'tokenizer' && isThere(file, true)) return null;
  if (key.at(-1) !== 'path') return faultOf(file, key.at(-1) === 'folder');
  if (isHubPath(file)) {
    const parsed = parseHubPath(file);
    return 'expected' in parsed ? { message: 'no path on the Hub', ...parsed } : null;
  }
  const isFolder = statSync(file, { throwIfNoEntry: false })?.isDirectory() === true;
  if (!isFolder && (existsSync(file) || !isGlob(file))) return faultOf(file, false);
  try {
    localFiles(file);
    return null;
  } catch (error) {
    return faultOfError(error);
  }
}

/** A file's error as a fault of the recipe that names it; anything else is thrown on. */
function faultOfError(error: unknown): Omit<Fault, 'key' | 'found'> {
  if (!(error instanceof DataError)) throw error;
  const { message, expected, hint } = error;
  const words = message.replace(/\.$/, '').replace(/^./, (first) => first.toLowerCase());
  return {
    message: words,
    ...(expected !== undefined && { expected }),
    ...(hint !== undefined && { hint }),
  };
}

/** What is wrong with a file or folder that is to be read, as far as a look at its name tells; null: nothing. */
function faultOf(file: string, folder: boolean): Pick<Fault, 'message' | 'expected'> | null {
  const stats = statSync(file, { throwIfNoEntry: false });
  const expected = folder ? 'a folder that can be read' : 'a file that can be read';
  if (stats === undefined) return { message: `no such ${folder ? 'folder' : 'file'}`, expected };
  if (folder) return stats.isDirectory() ? null : { message: 'not a folder', expected };
  if (stats.isDirectory()) return { message: 'a folder, not a file', expected };
  return stats.isFile() && stats.size === 0
    ? { message: 'an empty file', expected: 'a file with content' }
    : null;
}

function isThere(file: string, folder: boolean): boolean {
  const stats = statSync(file, { throwIfNoEntry: false });
  if (stats === undefined) return false;
  return folder ? stats.isDirectory() : stats.isFile();
}

/** Number of ids that a tokenizer.json can give out: the highest id plus one. Null when it is no tokenizer. */
function tokenizerSize(bytes: Buffer): number | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(bytes.toString());
  } catch {
    return null;
  }
  const { model, added_tokens: added } = (parsed ?? {}) as {
    model?: { vocab?: unknown } | null;
    added_tokens?: unknown;
  };
  const vocab = model?.vocab;
  if (typeof vocab !== 'object' || vocab === null) return null;
  let highest = Array.isArray(vocab) ? vocab.length - 1 : -1;
  const ids = Array.isArray(vocab) ? [] : Object.values(vocab);
  for (const token of Array.isArray(added) ? added : []) ids.push((token as { id?: unknown } | null)?.id);
  for (const id of ids) if (typeof id === 'number' && id > highest) highest = id;
  return highest + 1;
}

/** Files of sources whose names do not tell their format where they have to. */
function formatFaults(corpus: Recipe['corpus']): Fault[] {
  return (['train', 'validation', 'test'] as const).flatMap((split) => {
    const source = corpus[split];
    if (source?.format !== 'auto') return [];
    const unknown = filesHere(source).find((file) => containerFormat(file) === null);
    if (unknown === undefined) return [];
    return [
      {
        key: `corpus.${split}.format`,
        message: 'the name of a file does not tell its format',
        expected: `one of ${KNOWN_ENDINGS}`,
        found: unknown,
        hint: 'name the format, or choose the files by a pattern',
      },
    ];
  });
}

/** What is wrong with a tokenizer that is there: it is none, or gives out ids beyond the model's vocabulary. */
function tokenizerFaults({ corpus: { tokenizer: path }, model }: Recipe): Fault[] {
  if (!existsSync(path)) return [];
  let bytes: Buffer;
  try {
    bytes = readTokenizer(path).bytes;
  } catch (error) {
    return [{ key: 'corpus.tokenizer', ...faultOfError(error), found: path }];
  }
  const size = tokenizerSize(bytes);
  const vocabulary = model.config.vocab_size;
  if (size === null || size === 0) {
    const expected = 'a tokenizer.json';
    return [{ key: 'corpus.tokenizer', message: 'not a tokenizer.json', expected, found: path }];
  }
  if (typeof vocabulary !== 'number' || size <= vocabulary) return [];
  return [
    {
      key: 'model.config.vocab_size',
      message: 'the tokenizer gives out ids beyond the vocabulary',
      expected: `at least ${size}, the size of ${path}`,
      found: String(vocabulary),
    },
  ];
}

/**
 * Faults between files that are there and the recipe: a source whose format cannot be told; a tokenizer that is
 * none, or that gives out ids beyond the model's vocabulary; an embedding folder without its own tokenizer.
 */
export function fileFaults(recipe: Recipe): Fault[] {
  const faults = formatFaults(recipe.corpus);
  faults.push(...tokenizerFaults(recipe));
  const folder = recipe.partition.embedding.folder;
  if (folder !== null && isThere(folder, true) && !existsSync(join(folder, 'tokenizer.json'))) {
    faults.push({
      key: 'partition.embedding.folder',
      message: 'an embedding table without its own tokenizer cannot be used',
      expected: `${join(folder, 'tokenizer.json')}`,
      found: 'no such file',
    });
  }
  return faults;
}

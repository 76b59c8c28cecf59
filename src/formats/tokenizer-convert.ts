/**
 * A tokenizer.json made from the files that came before it: tiktoken's ranks (Qwen), and the vocabulary and
 * merges of GPT-2. Both are byte-level BPE; they differ in how text is cut into words before it.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { DataError } from '../errors.js';
import { readJson } from './atomic.js';
import { readTokenizerConfig } from './tokenizer-config.js';
import { mergesOf, parseRanks, textOf } from './tokenizer-ranks.js';

/** How Qwen cuts text into words: tokenization_qwen.py of Qwen, tokenization_qwen2.py of transformers. */
const QWEN_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** Behind the ranks of Qwen, in this order. */
const QWEN_SPECIAL = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];
const GPT2_SPECIAL = '<|endoftext|>';

/** A token of the list that the library looks for before it cuts text into words. */
interface AddedToken {
  id: number;
  content: string;
  special: boolean;
  single_word: boolean;
  lstrip: boolean;
  rstrip: boolean;
  normalized: boolean;
}

/**
 * The tokenizer.json of a qwen.tiktoken. Every token is a merge of the two pieces in which tiktoken finds it, so that
 * the ids are tiktoken's; text is first brought into NFC, as Qwen's own tokenizer does.
 *
 * @param bytes lines of `BASE64 RANK`
 * @throws DataError naming file and line
 */
export function convertRanks(file: string, bytes: Uint8Array): Buffer {
  const ranks = parseRanks(file, bytes);
  const added = addedTokens(dirname(file)) ?? QWEN_SPECIAL.map((token, i) => special(token, ranks.size + i));
  return tokenizerJson(
    qwenWords(),
    { vocab: Object.fromEntries(ranks), merges: mergesOf(file, ranks) },
    added,
  );
}

/**
 * The tokenizer.json of a vocab.json and merges.txt. How text is cut into words is in neither: the tokenizer_config.json
 * or config.json beside them tells; where there is none, a vocabulary that holds GPT-2's end token is taken for
 * GPT-2's.
 *
 * @throws DataError for malformed files and for a kind of tokenizer that is not known
 */
export function convertMerges(vocabFile: string, vocab: Buffer, mergesFile: string, merges: Buffer): Buffer {
  const folder = dirname(vocabFile);
  const ids = parseVocabulary(vocabFile, vocab);
  const lines = textOf(mergesFile, merges)
    .split(/\r?\n/)
    .filter((line) => line !== '' && !line.startsWith('#version'));
  const pairs = lines.map((line, i) => {
    const parts = line.split(' ');
    if (parts.length === 2 && parts[0] !== '' && parts[1] !== '') return parts;
    throw new DataError('A merge is not two pieces with a space between.', {
      file: mergesFile,
      key: `merge ${i + 1}`,
      found: line.slice(0, 80),
    });
  });
  const kind = kindOf(folder, ids);
  const model = { vocab: Object.fromEntries(ids), merges: pairs };
  if (kind === 'qwen2') {
    const added = QWEN_SPECIAL.map((token, i) => special(token, ids.size + i));
    return tokenizerJson(qwenWords(), model, addedTokens(folder) ?? added);
  }
  const end = ids.get(GPT2_SPECIAL);
  const added = addedTokens(folder) ?? (end === undefined ? [] : [special(GPT2_SPECIAL, end)]);
  const prefix = readTokenizerConfig(folder)?.add_prefix_space ?? false;
  return tokenizerJson({ normalizer: null, pre_tokenizer: byteLevel(prefix, true) }, model, added);
}

/** Which of the known ways of cutting text into words a vocab.json goes with. */
function kindOf(folder: string, ids: ReadonlyMap<string, number>): 'gpt2' | 'qwen2' {
  const tokenizerClass = readTokenizerConfig(folder)?.tokenizer_class?.replace(/Fast$/, '');
  const config = join(folder, 'config.json');
  const modelType = existsSync(config)
    ? readJson(config, z.looseObject({ model_type: z.string().optional() })).model_type
    : undefined;
  const stated = tokenizerClass ?? modelType;
  if (stated === 'GPT2Tokenizer' || stated === 'gpt2') return 'gpt2';
  if (stated === 'Qwen2Tokenizer' || /^qwen[23](_moe)?$/.test(stated ?? '')) return 'qwen2';
  if (stated === undefined && ids.has(GPT2_SPECIAL)) return 'gpt2';
  throw new DataError('vocab.json and merges.txt do not say how text is cut into words.', {
    file: folder,
    key: tokenizerClass !== undefined || modelType === undefined ? 'tokenizer_class' : 'model_type',
    expected: 'a tokenizer.json, or a tokenizer_config.json with GPT2Tokenizer or Qwen2Tokenizer',
    found: stated ?? 'no tokenizer_config.json and no config.json',
    hint: "transformers writes tokenizer.json: AutoTokenizer.from_pretrained('FOLDER').save_pretrained('FOLDER')",
  });
}

/** The added tokens of the folder's tokenizer_config.json, by id; null where it has none. */
function addedTokens(folder: string): AddedToken[] | null {
  const listed = readTokenizerConfig(folder)?.added_tokens_decoder;
  if (listed === undefined) return null;
  return Object.entries(listed)
    .map(([id, { content, special, single_word, lstrip, rstrip, normalized }]) => {
      return { id: Number(id), content, special, single_word, lstrip, rstrip, normalized };
    })
    .sort((a, b) => a.id - b.id);
}

function special(content: string, id: number): AddedToken {
  return { id, content, special: true, single_word: false, lstrip: false, rstrip: false, normalized: false };
}

function byteLevel(prefix: boolean, words: boolean) {
  return { type: 'ByteLevel', add_prefix_space: prefix, trim_offsets: false, use_regex: words };
}

function qwenWords() {
  const words = { type: 'Split', pattern: { Regex: QWEN_WORDS }, behavior: 'Isolated', invert: false };
  const pretokenizers = [words, byteLevel(false, false)];
  return { normalizer: { type: 'NFC' }, pre_tokenizer: { type: 'Sequence', pretokenizers } };
}

function tokenizerJson(
  words: { normalizer: unknown; pre_tokenizer: unknown },
  model: { vocab: Record<string, number>; merges: readonly (readonly string[])[] },
  added: readonly AddedToken[],
): Buffer {
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    ...words,
    post_processor: null,
    decoder: byteLevel(false, false),
    model: { type: 'BPE', dropout: null, unk_token: null, fuse_unk: false, byte_fallback: false, ...model },
  };
  return Buffer.from(`${JSON.stringify(json)}\n`);
}

function parseVocabulary(file: string, bytes: Uint8Array): Map<string, number> {
  const refuse = (found: string): never => {
    throw new DataError('The vocabulary cannot be used.', {
      file,
      expected: 'a JSON object of tokens with ids, each id once',
      found,
    });
  };
  let json: unknown;
  try {
    json = JSON.parse(textOf(file, bytes));
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    return refuse(String(cause));
  }
  const result = z.record(z.string(), z.int().min(0)).safeParse(json);
  if (!result.success) return refuse(z.prettifyError(result.error).split('\n')[0]!);
  const ids = new Map(Object.entries(result.data));
  if (new Set(ids.values()).size !== ids.size) return refuse('an id twice');
  return ids;
}

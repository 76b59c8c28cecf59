/**
 * What the files beside a tokenizer say about its tokens: where text begins and ends, which tokens were added.
 * config.json and generation_config.json name ids, tokenizer_config.json names tokens.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { DataError } from '../errors.js';
import { readJson } from './atomic.js';

const name = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();
const added = z.looseObject({
  content: z.string().min(1),
  special: z.boolean().default(false),
  single_word: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  normalized: z.boolean().default(true),
});
const tokenizerConfig = z.looseObject({
  tokenizer_class: z.string().optional(),
  add_prefix_space: z.boolean().optional(),
  add_bos_token: z.boolean().optional(),
  add_eos_token: z.boolean().optional(),
  bos_token: name,
  eos_token: name,
  added_tokens_decoder: z.record(z.string().regex(/^\d{1,9}$/), added).optional(),
});

const id = z.int().min(0);
const ids = z.looseObject({
  bos_token_id: id.nullish(),
  eos_token_id: z.union([id, z.array(id).min(1)]).nullish(),
});

/** The folder's tokenizer_config.json, or null. Throws DataError where it is malformed. */
export function readTokenizerConfig(folder: string): z.output<typeof tokenizerConfig> | null {
  const file = join(folder, 'tokenizer_config.json');
  return existsSync(file) ? readJson(file, tokenizerConfig) : null;
}

/** Where a model's texts begin and end. */
export interface TextEnds {
  bos: number | null;
  /** Every token that ends a text; empty where none is named. */
  eos: readonly number[];
  /** The file that names the end. */
  file: string | null;
}

/**
 * The ends of texts as the files of `folder` name them. For documents config.json comes first; for generation
 * generation_config.json does, as in transformers, which may name several ends. tokenizer_config.json is the last.
 *
 * @param idOf the id of a token, null where there is none
 * @throws DataError for malformed files, and where tokenizer_config.json names a token that `idOf` does not know
 */
export function readTextEnds(
  folder: string,
  use: 'documents' | 'generation',
  idOf: (token: string) => number | null,
): TextEnds {
  const ends: { -readonly [K in keyof TextEnds]: TextEnds[K] } = { bos: null, eos: [], file: null };
  const order = ['config.json', 'generation_config.json'];
  for (const file of use === 'documents' ? order : order.reverse()) {
    const path = join(folder, file);
    const found = existsSync(path) ? readJson(path, ids) : {};
    ends.bos ??= found.bos_token_id ?? null;
    if (ends.eos.length > 0 || found.eos_token_id == null) continue;
    ends.eos = [found.eos_token_id].flat();
    ends.file = path;
  }
  const named = readTokenizerConfig(folder);
  const path = join(folder, 'tokenizer_config.json');
  const look = (key: 'bos_token' | 'eos_token'): number | null => {
    const entry = named?.[key];
    if (entry == null) return null;
    const token = typeof entry === 'string' ? entry : entry.content;
    const number = idOf(token);
    if (number !== null) return number;
    throw new DataError('tokenizer_config.json names a token that the tokenizer does not have.', {
      file: path,
      key,
      found: token,
    });
  };
  ends.bos ??= look('bos_token');
  if (ends.eos.length === 0) {
    const eos = look('eos_token');
    if (eos !== null) Object.assign(ends, { eos: [eos], file: path });
  }
  return ends;
}

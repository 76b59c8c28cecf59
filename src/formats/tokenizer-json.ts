/** The content of a tokenizer.json, as far as this program looks at it. */
import { z } from 'zod';
import { DataError } from '../errors.js';

/** Ids are stored as signed 32-bit integers. */
export const LARGEST_ID = 2 ** 31 - 1;
const id = z.int().min(0).max(LARGEST_ID);
const addedToken = z.looseObject({ id, content: z.string().min(1), special: z.boolean().default(false) });
/** The parts of a tokenizer.json that are looked at here; the library judges the rest. */
const tokenizerJson = z.looseObject({
  model: z.looseObject({
    type: z.string().optional(),
    vocab: z.unknown(),
    unk_token: z.string().nullish(),
    unk_id: z.int().nullish(),
  }),
  added_tokens: z.array(addedToken).default([]),
});
export type TokenizerJson = z.output<typeof tokenizerJson>;

/** The error for a tokenizer that the library or this program refuses. */
export function malformed(file: string, cause: unknown): DataError {
  const found = cause instanceof Error ? cause.message : String(cause);
  return new DataError('The tokenizer cannot be used.', { file, expected: 'a tokenizer.json', found, cause });
}

/** @throws DataError naming file and key where `bytes` is no tokenizer.json */
export function parseTokenizerJson(file: string, bytes: Buffer): TokenizerJson {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw malformed(file, cause);
  }
  const result = tokenizerJson.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw new DataError('The tokenizer cannot be used.', {
    file,
    key: issue.path.join('.') || '(top level)',
    expected: 'a tokenizer.json',
    found: issue.message,
  });
}

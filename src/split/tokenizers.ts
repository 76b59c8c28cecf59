/** Whether two tokenizers give the same ids to the same tokens: a model's rows mean what its tokenizer says. */
import { readFileSync } from 'node:fs';
import { DataError } from '../errors.js';
import { systemFailure } from '../formats/system-failure.js';

/** A token that two tokenizers number differently. */
interface Disagreement {
  token: string;
  /** Its id, or undefined where the tokenizer does not have it. */
  first: number | undefined;
  second: number | undefined;
}

/**
 * The first token on which two tokenizer.json disagree, or null where they do on none.
 * @throws DataError for a file that is no tokenizer.json
 */
export function tokenizerDifference(first: string, second: string): Disagreement | null {
  const [a, b] = [bytesOf(first), bytesOf(second)];
  if (a.equals(b)) return null;
  const [left, right] = [idsOf(first, a), idsOf(second, b)];
  for (const [token, id] of left)
    if (right.get(token) !== id) return { token, first: id, second: right.get(token) };
  for (const [token, id] of right) if (!left.has(token)) return { token, first: undefined, second: id };
  return null;
}

function bytesOf(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw systemFailure(error, file, 'read');
  }
}

/** Id by token: those of the vocabulary, and those added to it. */
function idsOf(file: string, bytes: Buffer): Map<string, number> {
  try {
    const { model, added_tokens: added = [] } = JSON.parse(bytes.toString('utf8')) as {
      model: { vocab: Record<string, number> | [string, number][] };
      added_tokens?: { id: number; content: string }[];
    };
    const entries = Array.isArray(model.vocab)
      ? model.vocab.map(([token], id): [string, number] => [token, id])
      : Object.entries(model.vocab);
    return new Map([...entries, ...added.map(({ id, content }): [string, number] => [content, id])]);
  } catch (cause) {
    throw new DataError('Not a tokenizer.json.', { file, cause });
  }
}

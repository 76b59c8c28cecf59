/** tiktoken's list of tokens with ranks, and the merges that lead to them. */
import { DataError } from '../errors.js';

/** No token of a tokenizer in use comes near it (Qwen: 128); merging takes the square of a length. */
const LONGEST_TOKEN = 1024;

/** GPT-2's letter for every byte: itself where it can be seen, otherwise one from U+0100 on. */
const LETTERS: readonly string[] = (() => {
  let next = 256;
  const visible = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte < 256 && byte !== 173);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(visible(byte) ? byte : next++));
})();

/**
 * Tokens, spelt in {@link LETTERS}, with their ranks.
 *
 * @param bytes lines of `BASE64 RANK`, ranks counted from 0
 * @throws DataError naming file and line
 */
export function parseRanks(file: string, bytes: Uint8Array): Map<string, number> {
  const ranks = new Map<string, number>();
  const refuse = (line: number, found: string): never => {
    throw new DataError('The file is not a list of tokens and ranks.', {
      file,
      key: `line ${line}`,
      expected: 'a token in base64, a space and its rank, counted from 0',
      found: found.slice(0, 80),
    });
  };
  const lines = textOf(file, bytes).split('\n');
  if (lines.at(-1) === '') lines.pop();
  for (const [i, line] of lines.entries()) {
    const match = /^([A-Za-z0-9+/]+={0,2}) (\d+)\r?$/.exec(line);
    if (match === null || Number(match[2]) !== i) return refuse(i + 1, line);
    const token = Buffer.from(match[1]!, 'base64');
    if (token.toString('base64') !== match[1] || token.length > LONGEST_TOKEN) return refuse(i + 1, line);
    const spelt = Array.from(token, (byte) => LETTERS[byte]).join('');
    if (ranks.has(spelt)) return refuse(i + 1, `${match[1]} a second time`);
    ranks.set(spelt, i);
  }
  const missing = LETTERS.findIndex((letter) => !ranks.has(letter));
  if (missing !== -1) {
    throw new DataError('A byte has no token of its own.', { file, key: `byte ${missing}` });
  }
  return ranks;
}

/**
 * The two pieces of every token, by rank: what is left when it is merged by the ranks below its own.
 *
 * Where every token has them, as in any vocabulary that BPE made, any text that comes to a token by merges comes to
 * it from these two: merges within a token do not depend on what stands around it.
 *
 * @throws DataError naming the first token that no merges of lower ranks lead to
 */
export function mergesOf(file: string, ranks: ReadonlyMap<string, number>): [string, string][] {
  const merges: [string, string][] = [];
  for (const [token, rank] of ranks) {
    if (token.length === 1) continue;
    const pieces = [...token];
    for (;;) {
      let lowest = rank;
      let at = -1;
      for (let i = 0; i + 1 < pieces.length; i++) {
        const found = ranks.get(pieces[i]! + pieces[i + 1]!);
        if (found === undefined || found >= lowest) continue;
        lowest = found;
        at = i;
      }
      if (at === -1) break;
      pieces.splice(at, 2, pieces[at]! + pieces[at + 1]!);
    }
    const [left, right] = pieces;
    if (pieces.length !== 2 || left === undefined || right === undefined) {
      throw new DataError('Tokens of lower ranks do not lead to a token, so that merges cannot make it.', {
        file,
        key: `line ${rank + 1}`,
        expected: 'ranks in the order in which BPE found them',
        found: pieces.join(' '),
      });
    }
    merges.push([left, right]);
  }
  return merges;
}

/** Bytes as text. Throws DataError naming `file` where they are no UTF-8. */
export function textOf(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new DataError('The file is not text in UTF-8.', { file, cause });
  }
}

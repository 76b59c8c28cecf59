/** Which tokens stand near one another: counts within a window, documents apart. */
import type { Ids } from '../formats/token-store.js';
import type { Pause } from './pause.js';

/** Cells of the table of counts at most: 256 MB. */
const MAXIMUM_CELLS = 2 ** 26;
/** Tokens between two pauses. */
const PAUSE_TOKENS = 1 << 18;

/** R tokens that occur, by falling frequency, and counts of the C most frequent ones around them. */
export interface Cooccurrence {
  /** Token id of each row: int32 [R]; equal frequencies by rising id. */
  tokens: Int32Array;
  /** Occurrences of each row's token: [R]. */
  frequencies: Float64Array;
  /** C: the first C rows are the contexts. */
  contexts: number;
  /** int32 [R, C], row-major: how often context c stands within the window of token r. */
  counts: Int32Array;
}

/**
 * Counts, for every token, the tokens up to `window` places before and after it.
 *
 * All R tokens that occur have a row. Where R x R cells would be more than `maximumCells` (2^26: from 8,193
 * different tokens on), only the most frequent C = maximumCells / R tokens are contexts.
 *
 * @param documents is called twice and gives the same documents both times
 */
export async function countCooccurrence(
  documents: () => Iterable<Ids>,
  vocabularySize: number,
  window: number,
  pause: Pause,
  maximumCells = MAXIMUM_CELLS,
): Promise<Cooccurrence> {
  const occurrences = new Float64Array(vocabularySize);
  for await (const ids of paced(documents(), pause)) for (const id of ids) occurrences[id]!++;
  const tokens = Int32Array.from(occurrences.keys())
    .filter((id) => occurrences[id]! > 0)
    .sort((a, b) => occurrences[b]! - occurrences[a]! || a - b);
  const rows = tokens.length;
  const contexts = Math.min(rows, Math.max(1, Math.floor(maximumCells / Math.max(1, rows))));
  const rank = new Int32Array(vocabularySize);
  tokens.forEach((id, r) => {
    rank[id] = r;
  });
  const counts = new Int32Array(rows * contexts);
  for await (const ids of paced(documents(), pause)) {
    const ranks = Int32Array.from(ids, (id) => rank[id]!);
    for (let i = 0; i < ranks.length; i++) {
      const a = ranks[i]!;
      const end = Math.min(ranks.length, i + window + 1);
      for (let j = i + 1; j < end; j++) {
        const b = ranks[j]!;
        if (b < contexts) counts[a * contexts + b]!++;
        if (a < contexts) counts[b * contexts + a]!++;
      }
    }
  }
  return { tokens, frequencies: Float64Array.from(tokens, (id) => occurrences[id]!), contexts, counts };
}

/** The same documents, with a pause after every so many tokens. */
async function* paced(documents: Iterable<Ids>, pause: Pause): AsyncGenerator<Ids> {
  let since = 0;
  for (const ids of documents) {
    yield ids;
    since += ids.length;
    if (since < PAUSE_TOKENS) continue;
    since = 0;
    await pause();
  }
}

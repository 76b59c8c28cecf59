/** A bounded part of a corpus, for what need not see all of it: co-occurrence counts, words of the report. */

import { Random } from '../corpus/random.js';
import type { Ids, TokenStore } from '../formats/token-store.js';

/** A document and how many of its first tokens are taken. */
export interface SampledDocument {
  document: number;
  tokens: number;
}

/**
 * Documents of at most `maxTokens` tokens in all, in the order of the corpus: all of them where they fit, else
 * drawn at random by `seed`; the last one drawn is cut.
 *
 * @param limit tokens of a document that count at all
 */
export function sampleDocuments(
  store: TokenStore,
  maxTokens: number,
  seed: number,
  limit = Number.POSITIVE_INFINITY,
): SampledDocument[] {
  const sample: SampledDocument[] = [];
  let left = maxTokens;
  for (const document of new Random(seed, 'sample').permutation(store.documents)) {
    if (left <= 0) break;
    const tokens = Math.min(store.length(document), limit, left);
    sample.push({ document, tokens });
    left -= tokens;
  }
  return sample.sort((a, b) => a.document - b.document);
}

/** The tokens of sampled documents, one after the other. */
export function* readSample(store: TokenStore, sample: readonly SampledDocument[]): Generator<Ids> {
  for (const { document, tokens } of sample) yield store.document(document, tokens);
}

/**
 * Token vectors from the corpus alone, where there is no pre-trained table: positive pointwise mutual information of
 * tokens that stand near one another, reduced by a truncated SVD (Levy, Goldberg and Dagan 2015).
 */
import { Random } from '../corpus/random.js';
import type { TokenStore } from '../formats/token-store.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { type Cooccurrence, countCooccurrence } from './cooccurrence.js';
import { denseMap, truncatedSvd } from './low-rank.js';
import type { Pause } from './pause.js';
import { readSample, sampleDocuments } from './sample.js';

/** Context probabilities to this power: rare contexts do not win by chance. */
const SMOOTHING = 0.75;
/** Smooth inverse frequency (Arora, Liang and Ma 2017): row t is scaled by a / (a + p(t)). */
const INVERSE_FREQUENCY = 1e-3;

export interface CorpusTableOptions {
  vocabularySize: number;
  /** d at most: as many as there are different tokens, if that is fewer. */
  dimension: number;
  /** Tokens to each side. */
  window: number;
  /** Tokens counted at most: documents drawn at random. */
  maxTokens: number;
  /** Tokens of a document that count. */
  limit: number;
  seed: number;
  device: string;
  pause: Pause;
}

/** A table made from the corpus. */
export interface CorpusTable {
  /** float32 [V, d]; zero for tokens that were not counted. */
  weight: Tensor;
  /** Tokens counted and different ones among them; contexts of the co-occurrence table. */
  counted: number;
  distinct: number;
  contexts: number;
}

/**
 * Makes the table: row t is u_t sqrt(S) a / (a + p(t)), with u_t the row of token t of the left singular vectors
 * of max(0, log p(t, c) / (p(t) p(c)^0.75)). The last factor makes the mean of eq. (1) one in which frequent
 * tokens, which every text has, weigh little.
 */
export async function makeCorpusTable(store: TokenStore, options: CorpusTableOptions): Promise<CorpusTable> {
  const { vocabularySize, dimension, window, maxTokens, limit, seed, device, pause } = options;
  const sample = sampleDocuments(store, maxTokens, seed, limit);
  const near = await countCooccurrence(() => readSample(store, sample), vocabularySize, window, pause);
  const matrix = torch.scope(() => positiveMutualInformation(near, device));
  try {
    const svd = await truncatedSvd(denseMap(matrix), dimension, new Random(seed, 'svd'), pause);
    const counted = near.frequencies.reduce((sum, count) => sum + count, 0);
    const rows = new Float32Array(vocabularySize * svd.rank);
    near.tokens.forEach((id, r) => {
      const scale = INVERSE_FREQUENCY / (INVERSE_FREQUENCY + near.frequencies[r]! / counted);
      for (let j = 0; j < svd.rank; j++) {
        rows[id * svd.rank + j] = svd.vectors[r * svd.rank + j]! * Math.sqrt(svd.values[j]!) * scale;
      }
    });
    const weight = torch.tensor(rows, [vocabularySize, svd.rank], { device });
    return { weight, counted, distinct: near.tokens.length, contexts: near.contexts };
  } finally {
    matrix.dispose();
  }
}

/** max(0, log p(t, c) - log p(t) - log p(c)^smoothing), float32 [R, C]; 0 where t and c never meet. */
export function positiveMutualInformation(
  { tokens, contexts, counts }: Pick<Cooccurrence, 'tokens' | 'contexts' | 'counts'>,
  device: string,
): Tensor {
  const table = torch.tensor(counts, [tokens.length, contexts], { dtype: 'float32', device });
  const rows = table.sum(1, { keepdim: true, dtype: 'float64' }).clamp({ min: 1 });
  const columns = table.sum(0, { keepdim: true, dtype: 'float64' }).pow(SMOOTHING);
  const share = columns.div(columns.sum(null).clamp({ min: Number.MIN_VALUE })).clamp({ min: 1e-300 });
  const toFloat = (logarithms: Tensor): Tensor => logarithms.to({ dtype: 'float32' });
  // p(t, c) / (p(t) p(c)) = n(t, c) / (n(t) p(c)); the total cancels. log 0 is -infinity, which the limit takes up.
  return table.log().sub_(toFloat(rows.log())).sub_(toFloat(share.log())).clampMin_(0);
}

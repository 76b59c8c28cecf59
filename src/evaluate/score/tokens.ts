/** Log-probabilities of tokens at chosen positions. Shape letters: src/model/block.ts. */
import type { Decoder } from '../../model/decoder.js';
import type { Tensor } from '../../torch/index.js';
import * as torch from '../../torch/index.js';
import type { Bundle } from './bundles.js';

/** Logits computed at once. */
const LOGIT_ELEMENTS = { cpu: 2 ** 21, other: 2 ** 27 };

/** What a continuation scored. */
export interface Score {
  /** Sum of the log-probabilities of its tokens, nats. */
  logLikelihood: number;
  /** Whether each token is the most probable one; of equally probable ones the first counts. */
  greedy: boolean;
}

/**
 * Scores of the requests of bundles, from the logits at their positions only.
 *
 * @param hidden [B * T, H], one bundle a row, padded to T
 * @param sequenceLength T
 */
export function scoreTokens(
  model: Decoder,
  hidden: Tensor,
  bundles: readonly Bundle[],
  sequenceLength: number,
): { request: number; score: Score }[] {
  const { device, config } = model.store;
  // Each position once, however many tokens are looked at there: the four letters of a question.
  const rowOf = new Map<number, number>();
  const wanted: { row: number; target: number }[] = [];
  bundles.forEach(({ scored }, r) => {
    for (const { tokens } of scored) {
      for (const { position, target } of tokens) {
        const at = r * sequenceLength + position;
        const row = rowOf.get(at) ?? rowOf.size;
        rowOf.set(at, row);
        wanted.push({ row, target });
      }
    }
  });
  const positions = Int32Array.from(rowOf.keys());
  const logSums = new Float64Array(positions.length);
  const best = new Float64Array(positions.length);
  const values = new Float64Array(wanted.length);
  const limit = device === 'cpu' ? LOGIT_ELEMENTS.cpu : LOGIT_ELEMENTS.other;
  const size = Math.max(1, Math.floor(limit / config.vocabSize));
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a]!.row - wanted[b]!.row);
  let next = 0;
  for (let first = 0; first < positions.length; first += size) {
    torch.scope(() => {
      const count = Math.min(size, positions.length - first);
      const index = torch.tensor(positions.slice(first, first + count), [count], { dtype: 'int64', device });
      const product = hidden.indexSelect(0, index).mm(model.head.table.t());
      const logits = product.to({ dtype: product.dtype === 'float64' ? 'float64' : 'float32' });
      logSums.set(logits.logsumexp(-1).toNumbers(), first);
      best.set(logits.argmax({ dim: -1 }).toNumbers(), first);
      const begin = next;
      while (next < order.length && wanted[order[next]!]!.row < first + count) next++;
      const flat = order.slice(begin, next).map((i) => {
        const { row, target } = wanted[i]!;
        return (row - first) * config.vocabSize + target;
      });
      const at = torch.tensor(Int32Array.from(flat), [flat.length], { dtype: 'int64', device });
      const found = logits.flatten().indexSelect(0, at).toNumbers();
      found.forEach((logit, i) => {
        values[order[begin + i]!] = logit;
      });
    });
  }
  let i = 0;
  return bundles.flatMap(({ scored }) =>
    scored.map(({ request, tokens }) => {
      const score = { logLikelihood: 0, greedy: true };
      for (const { target } of tokens) {
        const { row } = wanted[i]!;
        score.logLikelihood += values[i]! - logSums[row]!;
        if (best[row] !== target) score.greedy = false;
        i++;
      }
      return { request, score };
    }),
  );
}

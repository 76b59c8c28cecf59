/** The ablation: clusters of the same sizes with documents at random. */
import type { Random } from '../corpus/random.js';

/** Exchanges per cluster at most; a few bring the differences down to single tokens. */
const EXCHANGES = 16;

/**
 * Deals documents in a random order to E clusters, cluster k getting as many tokens as the clusters of `labels`
 * have, to within one document; then exchanges pairs of documents between clusters with too many and too few
 * tokens for as long as that brings both nearer. Every cluster has a document.
 *
 * @param labels clusters whose sizes are copied: int32 [n], none empty
 * @param tokens tokens of each document: [n]
 * @returns int32 [n]
 */
export function randomPartition(
  labels: Int32Array,
  tokens: ArrayLike<number>,
  clusters: number,
  random: Random,
): Int32Array {
  const wanted = tokensPerCluster(labels, tokens, clusters);
  const dealt = deal(wanted, tokens, random.permutation(labels.length));
  for (let i = 0; i < EXCHANGES * clusters && exchange(dealt, tokens, wanted); i++);
  return dealt;
}

/** Tokens of each cluster: [E]. */
export function tokensPerCluster(
  labels: Int32Array,
  tokens: ArrayLike<number>,
  clusters: number,
): Float64Array {
  const sums = new Float64Array(clusters);
  labels.forEach((label, i) => {
    sums[label]! += tokens[i]!;
  });
  return sums;
}

/** One cluster after the other takes documents in the given order. */
function deal(wanted: Float64Array, tokens: ArrayLike<number>, order: Int32Array): Int32Array {
  const clusters = wanted.length;
  const dealt = new Int32Array(order.length);
  let next = 0;
  let end = 0;
  let before = 0;
  for (let k = 0; k < clusters; k++) {
    end += wanted[k]!;
    // Every later cluster needs a document too.
    const last = order.length - (clusters - 1 - k);
    const first = next;
    while (next < last) {
      const length = tokens[order[next]!]!;
      // A document that lies across the boundary goes where more of it lies.
      if (next > first && k < clusters - 1 && before + length / 2 > end) break;
      dealt[order[next++]!] = k;
      before += length;
    }
  }
  return dealt;
}

/**
 * Exchanges one document of the cluster with the most tokens too many for one of the cluster with the most too few.
 * @returns whether an exchange brought them nearer.
 */
function exchange(dealt: Int32Array, tokens: ArrayLike<number>, wanted: Float64Array): boolean {
  const excess = tokensPerCluster(dealt, tokens, wanted.length).map((sum, k) => sum - wanted[k]!);
  const over = excess.indexOf(Math.max(...excess));
  const under = excess.indexOf(Math.min(...excess));
  const goal = Math.min(excess[over]!, -excess[under]!);
  if (!(goal > 0)) return false;
  const byLength = (cluster: number): Int32Array =>
    Int32Array.from(dealt.keys())
      .filter((document) => dealt[document] === cluster)
      .sort((a, b) => tokens[a]! - tokens[b]! || a - b);
  const [longer, shorter] = [byLength(over), byLength(under)];
  let best: { give: number; take: number; left: number } | null = null;
  // Both rise in length, so the partner that leaves the least moves on with the document.
  for (let i = 0, j = 0; i < longer.length; i++) {
    const left = (at: number): number => Math.abs(tokens[longer[i]!]! - tokens[shorter[at]!]! - goal);
    while (j + 1 < shorter.length && left(j + 1) <= left(j)) j++;
    if (best === null || left(j) < best.left) best = { give: longer[i]!, take: shorter[j]!, left: left(j) };
  }
  // `left` is what is missing of the goal, or too much: nearer only when it is less than the goal itself.
  if (best === null || best.left >= goal) return false;
  dealt[best.give] = under;
  dealt[best.take] = over;
  return true;
}

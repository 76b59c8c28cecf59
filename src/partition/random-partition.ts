/** The ablation: clusters of the same sizes with documents at random. */
import type { Random } from '../corpus/random.js';

/**
 * Deals documents in a random order to E clusters, one cluster after the other, such that cluster k gets as many
 * tokens as the clusters of `labels` have, to within one document; every cluster gets a document.
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
  const order = random.permutation(labels.length);
  const dealt = new Int32Array(labels.length);
  let next = 0;
  let end = 0;
  let before = 0;
  for (let k = 0; k < clusters; k++) {
    end += wanted[k]!;
    // Every later cluster needs a document too.
    const last = labels.length - (clusters - 1 - k);
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

/** The ensemble of the submodels as in c-BTM: what one would have without merging. */
import type { HeldOutDocuments } from './documents.js';

/**
 * Weights of the submodels for each document: softmax over the clusters of -d^2 / temperature, d the distance of the
 * document's vector to a centroid (c-BTM, arXiv 2303.14177).
 *
 * @param squares squared distances, row-major [documents, E]
 * @returns row-major [documents, E], each row of sum 1
 */
export function clusterWeights(squares: Float32Array, clusters: number, temperature: number): Float64Array {
  const weights = new Float64Array(squares.length);
  for (let row = 0; row < squares.length; row += clusters) {
    const own = squares.subarray(row, row + clusters);
    const nearest = own.reduce((least, square) => Math.min(least, square), Number.POSITIVE_INFINITY);
    const parts = Array.from(own, (square) => Math.exp((nearest - square) / temperature));
    const sum = parts.reduce((total, part) => total + part, 0);
    parts.forEach((part, k) => {
      weights[row + k] = part / sum;
    });
  }
  return weights;
}

/**
 * Losses of the ensemble: -log sum_k w_k p_k(target), the probabilities mixed and not their logarithms.
 *
 * @param losses of each submodel, -log p_k of every target
 * @param weights row-major [documents, E]
 */
export function ensembleLosses(
  held: HeldOutDocuments,
  losses: readonly Float32Array[],
  weights: Float64Array,
): Float64Array {
  const mixed = new Float64Array(losses[0]!.length);
  const clusters = losses.length;
  for (let document = 0; document < held.count; document++) {
    const start = held.starts[document]!;
    for (let i = start; i < start + held.targets[document]!; i++) {
      const least = losses.reduce((found, own) => Math.min(found, own[i]!), Number.POSITIVE_INFINITY);
      const sum = losses.reduce(
        (total, own, k) => total + weights[document * clusters + k]! * Math.exp(least - own[i]!),
        0,
      );
      mixed[i] = least - Math.log(sum);
    }
  }
  return mixed;
}

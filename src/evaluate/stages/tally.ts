/** Sums over the targets of documents. */
import type { HeldOutDocuments } from './documents.js';

/** Loss of some targets, and what it comes to by other counts. */
export interface Tally {
  /** Mean, nats per target token. */
  loss: number;
  /** exp(loss). */
  perplexity: number;
  /** Sum of losses in bits over the bytes of the text: compares across tokenizers. */
  bitsPerByte: number;
  targets: number;
  bytes: number;
}

/** How many elements have a property. */
export function countOf(values: ArrayLike<number>, test: (value: number) => boolean): number {
  let count = 0;
  for (let i = 0; i < values.length; i++) if (test(values[i]!)) count++;
  return count;
}

/**
 * The tally of the documents of a cluster, or of all; null where there are none.
 *
 * @param losses of every target
 */
export function tally(
  held: HeldOutDocuments,
  losses: ArrayLike<number>,
  labels: ArrayLike<number>,
  cluster: number | null,
): Tally | null {
  let [sum, targets, bytes] = [0, 0, 0];
  for (let document = 0; document < held.count; document++) {
    if (cluster !== null && labels[document] !== cluster) continue;
    const start = held.starts[document]!;
    const count = held.targets[document]!;
    for (let i = start; i < start + count; i++) sum += losses[i]!;
    targets += count;
    bytes += held.bytes[document]!;
  }
  if (targets === 0) return null;
  const loss = sum / targets;
  return { loss, perplexity: Math.exp(loss), bitsPerByte: sum / Math.LN2 / bytes, targets, bytes };
}

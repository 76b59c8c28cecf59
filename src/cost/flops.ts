/** Floating-point operations of training, by one formula for both ways. */
import type { ModelConfig } from '../model/config.js';
import { countParameters } from '../model/parameters.js';

/**
 * Training FLOPs (forward and backward) of one token in rows of `sequenceLength` tokens:
 * 6 (active parameters without the input embedding) + 6 L T H,
 * with L layers, T the sequence length and H the width of attention (causal: half of the square). Norms,
 * softmax and the optimizer are left out, as usual; so is recomputation, which a memory mode may add.
 */
export function flopsPerToken(config: ModelConfig, sequenceLength: number): number {
  const { active, embedding, head } = countParameters(config);
  // A tied matrix is not looked up only: it multiplies, as the output head.
  const multiplied = head === 0 ? active : active - embedding;
  const width = config.numAttentionHeads * config.headDim;
  return 6 * multiplied + 6 * config.numHiddenLayers * sequenceLength * width;
}

/** Training FLOPs of `steps` steps of `batchSize` rows. Padding is computed, so it counts. */
export function trainingFlops(
  config: ModelConfig,
  rows: { steps: number; batchSize: number; sequenceLength: number },
): number {
  return rows.steps * rows.batchSize * rows.sequenceLength * flopsPerToken(config, rows.sequenceLength);
}

/** Hours that a card of a stated peak needs: FLOPs / (peak x utilisation). */
export function hoursOnCard(flops: number, card: { peakTflops: number; utilization: number }): number {
  return flops / (card.peakTflops * 1e12 * card.utilization) / 3600;
}

/** How much memory a training needs, and so which card it fits: an estimate, made of visible parts. */
import { isSparseLayer, type ModelConfig } from '../model/config.js';
import { countParameters, parameterLayout } from '../model/parameters.js';
import type { Precision } from '../recipe/schema.js';

/** How a training is laid out in memory. */
export interface MemoryMode {
  precision: Precision;
  /** `graph`: every layer keeps its activations; `blocks`: only block inputs are kept, one block is recomputed. */
  backward: 'graph' | 'blocks';
  /**
   * Whether each block is updated as soon as its gradient is complete, so that only one block's gradient
   * exists at a time. A global gradient norm is then not known before the update.
   */
  optimizerInBackward: boolean;
  /** Rows computed at once. */
  microBatch: number;
  sequenceLength: number;
}

/** Bytes by what they hold. */
export interface MemoryEstimate {
  weights: number;
  gradients: number;
  moments: number;
  master: number;
  activations: number;
  logits: number;
  total: number;
}

/** Rows of logits that exist at once: cross entropy over a large vocabulary is computed in chunks. */
const LOGIT_ROWS = 1024;

const size = (dtype: 'float32' | 'bfloat16') => (dtype === 'float32' ? 4 : 2);

/** Parameters of the largest block: a layer, the embedding, or the head. */
function largestBlock(config: ModelConfig): number {
  return Math.max(...parameterLayout(config).map((block) => block.trainedSize));
}

/** Values that one layer keeps for its backward pass, per token. */
function activationsPerToken(config: ModelConfig, sparse: boolean): number {
  const query = config.numAttentionHeads * config.headDim;
  const keyValue = config.numKeyValueHeads * config.headDim;
  // Inputs and outputs of two norms, q, k, v, attention output; attention keeps no square (flash or chunked).
  const attention = 4 * config.hiddenSize + 2 * query + 2 * keyValue;
  const width = sparse
    ? config.numExpertsPerTok * config.moeIntermediateSize + config.sharedExpertIntermediateSize
    : config.intermediateSize;
  // Gate, up and their product; the gathered rows of each selected expert.
  return attention + 3 * width + (sparse ? config.numExpertsPerTok * config.hiddenSize : 0);
}

/** Estimates the bytes of training a model of this configuration in this mode on one device. */
export function estimateMemory(config: ModelConfig, mode: MemoryMode): MemoryEstimate {
  const { precision } = mode;
  const { total, trained } = countParameters(config);
  const tokens = mode.microBatch * mode.sequenceLength;
  const compute = size(precision.compute);
  const layers = Array.from({ length: config.numHiddenLayers }, (_, i) =>
    activationsPerToken(config, isSparseLayer(config, i)),
  );
  const kept =
    mode.backward === 'graph'
      ? layers.reduce((a, b) => a + b, 0)
      : config.numHiddenLayers * config.hiddenSize + Math.max(0, ...layers);
  const gradients = mode.optimizerInBackward ? largestBlock(config) : trained;
  const estimate = {
    weights: total * size(precision.weights),
    gradients: gradients * size(precision.gradients),
    moments: 2 * trained * size(precision.moments),
    master: precision.master === 'float32' ? 4 * trained : 0,
    activations: tokens * kept * compute,
    // The logits in float32 and their gradient in the compute dtype.
    logits: Math.min(tokens, LOGIT_ROWS) * config.vocabSize * (4 + compute),
  };
  return { ...estimate, total: Object.values(estimate).reduce((a, b) => a + b, 0) };
}

/**
 * Whether an estimate fits a card. A twentieth of the card is kept free for the context of the driver and for
 * fragmentation.
 * @param memoryGB the card's memory in 10^9 bytes
 */
export function fits(estimate: MemoryEstimate, memoryGB: number): boolean {
  return estimate.total <= 0.95 * memoryGB * 1e9;
}

/**
 * What the blocks of a decoder have in common.
 *
 * Shape letters of the model code: B rows (batch), T tokens per row, N = B * T, H hidden, D head dimension,
 * A query heads, G key-value heads, E experts, K experts per token (top-k), I width of an expert, S width of the
 * shared expert, V vocabulary.
 */
import type { Tensor } from '../torch/index.js';
import type { TokenBatch } from './batch.js';
import type { AttentionCache } from './cache.js';
import type { BlockStorage } from './store.js';

/** What one forward pass knows besides h. */
export interface ForwardContext {
  batch: Pick<TokenBatch, 'rows' | 'sequenceLength' | 'valid' | 'tokens'>;
  /** RoPE's tables, [T, 1, D] or [B, T, 1, D] each: cosines, and sines with the sign that the first half takes. */
  rope: { cosine: Tensor; sine: Tensor };
  /** Positions that stand before those of the batch; left out: none, and nothing is kept. */
  cache?: AttentionCache | undefined;
  /** bool [T, P + T] or [B, 1, T, T]: where the T positions look; null: each at itself and all before it. */
  mask: Tensor | null;
  /** int64 [N] or [N, K]: the experts of each token instead of the router's choice, weighted equally, sum 1. */
  forcedExperts?: Tensor | undefined;
  /**
   * Standard normal numbers for a layer's noisy router, [N, E] in the router's dtype; left out: no noise, as in
   * evaluation.
   */
  noise?: ((layer: number) => Tensor) | undefined;
  /** Whether layers hand out what their router saw. */
  collectRouterInputs?: boolean | undefined;
}

/** What a layer's router did, padding left out. */
export interface RouterStatistics {
  /** float32 [E]: sums over tokens of the router's probabilities (noisy: of its scores); keeps its graph. */
  probabilities: Tensor;
  /** float32 [E]: how many (token, slot) pairs went to each expert. */
  counts: Tensor;
  /** []: the layer's own balance loss, which keeps its graph; null where it is made of all layers' probabilities. */
  balance: Tensor | null;
}

export interface BlockOutput {
  /** [N, H] */
  h: Tensor;
  /** null for layers without a choice: no experts or one. */
  routing: RouterStatistics | null;
  /** [N, H], detached: the true input of the router, where it was asked for and there are experts. */
  routerInput: Tensor | null;
}

/** One of the ordered blocks. `forward` reads weights from `storage` only. */
export interface Block {
  readonly storage: BlockStorage;
  forward(h: Tensor, context: ForwardContext): BlockOutput;
}

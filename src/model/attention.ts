/** Causal self-attention with grouped key-value heads. Shape letters: block.ts. */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { ForwardContext } from './block.js';
import type { ModelConfig } from './config.js';
import { applyRope } from './rope.js';
import { type BlockStorage, tensorOf } from './store.js';

/**
 * residual + Attention(x): one product for q, k and v, RoPE on q and k, softmax(q k^T / sqrt(D)) v, output
 * projection added to the residual in the same product.
 *
 * Padding needs no mask: it stands at the end of a row, where no token before it looks.
 *
 * @param x [N, H], normalised
 * @param residual [N, H]
 * @returns [N, H]
 */
export function attention(
  storage: BlockStorage,
  config: ModelConfig,
  x: Tensor,
  residual: Tensor,
  context: ForwardContext,
): Tensor {
  const { numAttentionHeads: heads, numKeyValueHeads: groups, headDim } = config;
  const { rows, sequenceLength } = context.batch;
  const bias = config.qkvBias ? tensorOf(storage, 'qkv.bias') : null;
  const qkv = torch
    .linear(x, tensorOf(storage, 'qkv.weight'), { bias })
    .view([rows, sequenceLength, heads + 2 * groups, headDim]);
  const [queryKey, value] = qkv.split([heads + groups, groups], { dim: 2 }) as [Tensor, Tensor];
  const [query, key] = applyRope(queryKey, context.rope).split([heads, groups], { dim: 2 }) as [
    Tensor,
    Tensor,
  ];
  const mixed = torch
    .scaledDotProductAttention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), {
      isCausal: true,
      enableGqa: heads !== groups,
    })
    .transpose(1, 2)
    .reshape([rows * sequenceLength, heads * headDim]);
  return residual.addmm(mixed, tensorOf(storage, 'output.weight').t());
}

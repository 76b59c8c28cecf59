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
  const qkv = normalised(storage, config, torch.linear(x, tensorOf(storage, 'qkv.weight'), { bias })).view([
    rows,
    sequenceLength,
    heads + 2 * groups,
    headDim,
  ]);
  const [queryKey, value] = qkv.split([heads + groups, groups], { dim: 2 }) as [Tensor, Tensor];
  const [query, key] = applyRope(queryKey, context.rope).split([heads, groups], { dim: 2 }) as [
    Tensor,
    Tensor,
  ];
  const { cache, mask } = context;
  const own = { key: key.transpose(1, 2), value: value.transpose(1, 2) };
  const all = cache ? cache.extend(storage.layout.layer!, own.key, own.value) : own;
  const mixed = torch
    .scaledDotProductAttention(query.transpose(1, 2), all.key, all.value, {
      attnMask: mask,
      // One position after others looks at all of them.
      isCausal: mask === null && (cache?.length ?? 0) === 0,
      enableGqa: heads !== groups,
    })
    .transpose(1, 2)
    .reshape([rows * sequenceLength, heads * headDim]);
  const onto = config.outputBias ? residual.add(tensorOf(storage, 'output.bias')) : residual;
  return onto.addmm(mixed, tensorOf(storage, 'output.weight').t());
}

/** Queries and keys normalised, all three clipped, as the family has it: [N, (A + 2 G) D]. */
function normalised(storage: BlockStorage, config: ModelConfig, qkv: Tensor): Tensor {
  const { numAttentionHeads: heads, numKeyValueHeads: groups, headDim, qkNorm, clipQkv } = config;
  const clipped = (x: Tensor): Tensor => (clipQkv === null ? x : x.clamp({ min: -clipQkv, max: clipQkv }));
  if (qkNorm === 'none') return clipped(qkv);
  const [query, key, value] = qkv.split([heads * headDim, groups * headDim, groups * headDim], {
    dim: 1,
  }) as [Tensor, Tensor, Tensor];
  const norm = (part: Tensor, name: string): Tensor => {
    const weight = tensorOf(storage, name);
    const width = weight.numel;
    const shaped = part.reshape([-1, part.shape[1]! / width, width]);
    return torch.rmsNorm(shaped, [width], { weight, eps: config.rmsNormEps }).view([...part.shape]);
  };
  return clipped(torch.cat([norm(query, 'qNorm'), norm(key, 'kNorm'), value], { dim: 1 }));
}

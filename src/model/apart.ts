/**
 * Documents of a packed row kept apart: attention looks at a position's own document only, and positions count from
 * its beginning, as if each document were computed alone. By a mask rather than by one product for each document:
 * rows of short documents would be many small products, and attention is a small part of a step.
 * Shape letters: block.ts.
 */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { TokenBatch } from './batch.js';
import type { ForwardContext } from './block.js';

/**
 * RoPE's tables and the mask of a batch whose rows hold several documents.
 *
 * @param positions int64 [N]: the place of each token in its document, as {@link TokenBatch.positions}
 * @param rope tables [T, 1, D] of positions 0 .. T - 1
 * @returns `rope` [B, T, 1, D]; `mask` bool [B, 1, T, T]: i looks at j where i - positions[i] <= j <= i
 */
export function apart(
  { rows, sequenceLength }: Pick<TokenBatch, 'rows' | 'sequenceLength'>,
  positions: Tensor,
  rope: ForwardContext['rope'],
): { rope: ForwardContext['rope']; mask: Tensor } {
  return torch.scope(() => {
    const place = (table: Tensor): Tensor =>
      table.indexSelect(0, positions).view([rows, sequenceLength, 1, table.shape[2]!]);
    const key = torch.arange(0, sequenceLength, { dtype: 'int64', device: positions.device });
    const query = key.unsqueeze(1);
    const start = key.sub(positions.view([rows, sequenceLength])).view([rows, 1, sequenceLength, 1]);
    return {
      rope: { cosine: place(rope.cosine), sine: place(rope.sine) },
      mask: key.le(query).logicalAnd(key.ge(start)),
    };
  });
}

/** The first block: rows of the token table. Shape letters: block.ts. */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { type BlockStorage, tensorOf } from './store.js';

export class Embedding {
  constructor(
    readonly storage: BlockStorage,
    /** The row that receives no gradient from here, or null. */
    readonly padTokenId: number | null,
  ) {}

  /** Tokens int64 [N] -> h [N, H], outside the graph: {@link accumulate} is its backward. */
  forward(tokens: Tensor): Tensor {
    return torch.noGrad(() => torch.embedding(tensorOf(this.storage, 'table'), tokens));
  }

  /**
   * Adds the gradient of h [N, H] to that of the table, row by row, without making a second table.
   */
  accumulate(tokens: Tensor, gradient: Tensor): void {
    torch.scope(() =>
      torch.noGrad(() => {
        const pad = this.padTokenId;
        const rows = pad === null ? gradient : gradient.maskedFill(tokens.eq(pad).unsqueeze(1), 0);
        tensorOf(this.storage, 'table').grad?.indexAdd_(0, tokens, rows);
      }),
    );
  }
}

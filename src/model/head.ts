/** The last block: final RMSNorm and the table of output rows. Shape letters: block.ts. */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { ModelConfig } from './config.js';
import { type BlockStorage, tensorOf } from './store.js';

export class Head {
  constructor(
    readonly storage: BlockStorage,
    /** The block whose `table` [V, H] the head reads: its own, or the embedding when they are tied. */
    readonly tableStorage: BlockStorage,
    readonly config: ModelConfig,
  ) {}

  /** The output table [V, H]: a leaf. */
  get table(): Tensor {
    return tensorOf(this.tableStorage, 'table');
  }

  /** h [N, H] -> normalised hidden states [N, H], to be multiplied by the table. */
  forward(h: Tensor): Tensor {
    const { hiddenSize, rmsNormEps } = this.config;
    return torch.rmsNorm(h, [hiddenSize], { weight: tensorOf(this.storage, 'norm'), eps: rmsNormEps });
  }
}

/** One decoder layer: h += Attention(RMSNorm(h)); h += FeedForward(RMSNorm(h)). Shape letters: block.ts. */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { attention } from './attention.js';
import type { Block, BlockOutput, ForwardContext } from './block.js';
import { isSparseLayer, type ModelConfig } from './config.js';
import { addExperts } from './experts.js';
import { denseFeedForward, swiglu } from './feed-forward.js';
import { routeNoisily } from './noisy-router.js';
import { route } from './router.js';
import { type BlockStorage, tensorOf } from './store.js';

export class DecoderLayer implements Block {
  constructor(
    readonly storage: BlockStorage,
    readonly config: ModelConfig,
  ) {}

  forward(h: Tensor, context: ForwardContext): BlockOutput {
    const { storage, config } = this;
    const attended = attention(storage, config, this.#norm(h, 'inputNorm'), h, context);
    const x = this.#norm(attended, 'feedForwardNorm');
    if (!isSparseLayer(config, storage.layout.layer!)) {
      return { h: denseFeedForward(storage, x, attended), routing: null, routerInput: null };
    }
    const routerInput = context.collectRouterInputs ? x.detach() : null;
    return { ...this.#mixture(x, attended, context), routerInput };
  }

  #norm(x: Tensor, name: string): Tensor {
    const weight = tensorOf(this.storage, name);
    return torch.rmsNorm(x, [this.config.hiddenSize], { weight, eps: this.config.rmsNormEps });
  }

  /** residual + sigmoid(x w^T) * shared expert(x), where there is one, + routed experts(x). */
  #mixture(x: Tensor, residual: Tensor, context: ForwardContext): Pick<BlockOutput, 'h' | 'routing'> {
    const { storage, config } = this;
    const [router, sharedGate] = this.#gates(x);
    const sum = sharedGate ? this.#addShared(x, residual, sharedGate) : residual;
    // The residual is read again by the backward pass of its norm: only a sum of our own may be added to in place.
    const own = sharedGate !== null;
    if (!router) {
      // One expert: its weight is the same for every token.
      const { scoreScaleFactor: scale } = config;
      const inner = swiglu(x, tensorOf(storage, 'experts.0.gateUp'), null);
      const down = tensorOf(storage, 'experts.0.down').t();
      const h = own ? sum.addmm_(inner, down, { alpha: scale }) : sum.addmm(inner, down, { alpha: scale });
      return { h, routing: null };
    }
    const routing =
      config.router === 'noisy'
        ? routeNoisily(router, storage, config, context)
        : route(router, config, context);
    return {
      h: addExperts(storage, config.numExperts, x, routing, { sum, own }),
      routing: routing.statistics,
    };
  }

  /** residual + sigmoid(gate) * shared expert(x) */
  #addShared(x: Tensor, residual: Tensor, gate: Tensor): Tensor {
    const inner = swiglu(x, tensorOf(this.storage, 'shared.gateUp'), gate.sigmoid());
    return residual.addmm(inner, tensorOf(this.storage, 'shared.down').t());
  }

  /**
   * What the router makes of x, [N, E] or for a noisy one [N, 2 E], null with one expert, and the shared expert's
   * gate [N, 1], null where there is none: by one product.
   */
  #gates(x: Tensor): [Tensor | null, Tensor | null] {
    const { numExperts, router, sharedExpertIntermediateSize } = this.config;
    const shared = sharedExpertIntermediateSize > 0;
    if (numExperts === 1 && !shared) return [null, null];
    const gates = x.mm(tensorOf(this.storage, 'gates').t());
    if (numExperts === 1) return [null, gates];
    if (!shared) return [gates, null];
    const rows = router === 'noisy' ? 2 * numExperts : numExperts;
    return gates.split([rows, 1], { dim: 1 }) as [Tensor, Tensor];
  }
}

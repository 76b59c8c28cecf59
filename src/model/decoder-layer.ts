/** One decoder layer: h += Attention(RMSNorm(h)); h += FeedForward(RMSNorm(h)). Shape letters: block.ts. */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { attention } from './attention.js';
import type { Block, BlockOutput, ForwardContext } from './block.js';
import { isSparseLayer, type ModelConfig } from './config.js';
import { addExperts } from './experts.js';
import { denseFeedForward, swiglu } from './feed-forward.js';
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

  /** residual + sigmoid(x w^T) * shared expert(x) + routed experts(x). */
  #mixture(x: Tensor, residual: Tensor, context: ForwardContext): Pick<BlockOutput, 'h' | 'routing'> {
    const { storage, config } = this;
    const { numExperts } = config;
    const [logits, sharedGate] = this.#gates(x);
    const shared = swiglu(x, tensorOf(storage, 'shared.gateUp'), sharedGate.sigmoid());
    const sum = residual.addmm(shared, tensorOf(storage, 'shared.down').t());
    if (!logits) {
      // One expert: softmax of one logit is 1, every token takes it.
      const inner = swiglu(x, tensorOf(storage, 'experts.0.gateUp'), null);
      return { h: sum.addmm_(inner, tensorOf(storage, 'experts.0.down').t()), routing: null };
    }
    const routing = route(logits, config, context);
    return { h: addExperts(storage, numExperts, x, routing, sum), routing: routing.statistics };
  }

  /** Router logits [N, E] (null with one expert) and the shared expert's gate [N, 1], by one product. */
  #gates(x: Tensor): [Tensor | null, Tensor] {
    const { numExperts } = this.config;
    const gates = x.mm(tensorOf(this.storage, 'gates').t());
    if (numExperts === 1) return [null, gates];
    return gates.split([numExperts, 1], { dim: 1 }) as [Tensor, Tensor];
  }
}

/** SwiGLU feed-forward parts. Shape letters: block.ts. */
import type { Tensor } from '../torch/index.js';
import { type BlockStorage, tensorOf } from './store.js';

/**
 * silu(x W_gate^T) * (x W_up^T) * weight: what goes into the down projection. The weight of an expert is
 * multiplied here, before the down projection, so that its output need not be saved for backward.
 *
 * @param x [n, H]
 * @param gateUp [2 I, H]: gate rows, then up rows
 * @param weight [n, 1], or null for 1
 * @returns [n, I]
 */
export function swiglu(x: Tensor, gateUp: Tensor, weight: Tensor | null): Tensor {
  const width = gateUp.shape[0]! / 2;
  const [gate, up] = x.mm(gateUp.t()).split([width, width], { dim: 1 }) as [Tensor, Tensor];
  const activated = gate.silu().mul(up);
  return weight ? activated.mul(weight) : activated;
}

/** residual + the plain feed-forward part of a layer without experts: [N, H]. */
export function denseFeedForward(storage: BlockStorage, x: Tensor, residual: Tensor): Tensor {
  const inner = swiglu(x, tensorOf(storage, 'dense.gateUp'), null);
  return residual.addmm(inner, tensorOf(storage, 'dense.down').t());
}

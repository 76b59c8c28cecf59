/** AdamW with clipping of the global gradient norm, over the flat tensors of a parameter store. */
import type { ParameterStore } from '../model/store.js';
import * as torch from '../torch/index.js';

export interface AdamWOptions {
  beta1: number;
  beta2: number;
  epsilon: number;
  /** Decoupled, on every trained parameter, as torch.optim.AdamW does without parameter groups. */
  weightDecay: number;
  /** Largest global norm of the gradient, or null for no clipping. */
  clipNorm: number | null;
}

/** What a step did. */
export interface StepResult {
  /** Global 2-norm of the gradient before clipping. */
  gradientNorm: number;
  /** False when the norm was not finite: nothing was changed, and the caller ends the training. */
  updated: boolean;
}

/** What the training loop needs of an optimizer. */
export interface Optimizer {
  /** One update of the store's weights from its gradients, which it may scale. */
  step(learningRate: number): StepResult;
}

/**
 * PyTorch's AdamW, fused, one call per block:
 * w -= lr wd w; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps).
 */
export class AdamW implements Optimizer {
  constructor(
    readonly store: ParameterStore,
    readonly options: AdamWOptions,
  ) {
    if (!store.training) throw new RangeError('the store keeps no gradients');
  }

  step(learningRate: number): StepResult {
    const { store, options } = this;
    const gradientNorm = globalGradientNorm(store);
    if (!Number.isFinite(gradientNorm)) return { gradientNorm, updated: false };
    store.step++;
    const shrink = options.clipNorm === null ? 1 : Math.min(1, options.clipNorm / (gradientNorm + 1e-6));
    torch.scope(() => {
      const { device } = store;
      const count = torch.full([], store.step, { dtype: 'float32', device });
      // The fused step divides the gradient by this while it reads it.
      const gradScale = shrink < 1 ? torch.full([], 1 / shrink, { dtype: 'float32', device }) : null;
      const settings = {
        lr: learningRate,
        beta1: options.beta1,
        beta2: options.beta2,
        weightDecay: options.weightDecay,
        eps: options.epsilon,
        amsgrad: false,
        maximize: false,
        gradScale,
      };
      for (const { trained, training } of store.blocks) {
        const { gradients, firstMoments, secondMoments } = training!;
        torch.fusedAdamw_([trained], [gradients], [firstMoments], [secondMoments], [], [count], settings);
      }
    });
    return { gradientNorm, updated: true };
  }
}

/** The 2-norm of all gradients of a store, block by block, their squares added in float64. */
export function globalGradientNorm(store: ParameterStore): number {
  return torch.scope(() => {
    const norms = store.blocks.map((block) => block.training!.gradients.linalgVectorNorm());
    return Math.hypot(...torch.stack(norms).toNumbers());
  });
}

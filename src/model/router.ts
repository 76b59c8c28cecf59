/** The softmax router. Shape letters: block.ts. */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { ForwardContext, RouterStatistics } from './block.js';
import type { ModelConfig } from './config.js';

/** Where each token goes. */
export interface Routing {
  /** [N, K] in the dtype of the model: weight of each of the token's experts. */
  weights: Tensor;
  /** int64 [N, K], or null where every token takes every expert: weights are then in the order of the experts. */
  experts: Tensor | null;
  statistics: RouterStatistics;
}

/**
 * Chooses experts: p = softmax(logits) over all E in float32, the K largest, renormalised to sum 1 where
 * norm_topk_prob says so.
 *
 * @param logits [N, E]
 */
export function route(logits: Tensor, config: ModelConfig, context: ForwardContext): Routing {
  const { numExperts, numExpertsPerTok: topK } = config;
  const dtype = logits.dtype === 'float64' ? 'float64' : 'float32';
  const probabilities = logits.softmax(-1, { dtype });
  const { valid, tokens } = context.batch;
  const sums = (valid ? probabilities.mul(valid.unsqueeze(1)) : probabilities).sum(0);
  if (context.forcedExperts) {
    const experts = context.forcedExperts.reshape([logits.shape[0]!, -1]);
    const slots = experts.shape[1]!;
    const weights = torch.full([...experts.shape], 1 / slots, { dtype: logits.dtype, device: logits.device });
    return {
      weights,
      experts,
      statistics: { probabilities: sums, counts: countTokens(experts, numExperts, valid), balance: null },
    };
  }
  if (topK === numExperts) {
    // The probabilities already sum to 1, so that norm_topk_prob changes nothing.
    const counts = torch.full([numExperts], tokens, { dtype: 'float32', device: logits.device });
    return {
      weights: probabilities.to({ dtype: logits.dtype }),
      experts: null,
      statistics: { probabilities: sums, counts, balance: null },
    };
  }
  const [best, experts] = probabilities.topk(topK);
  const weights = config.normTopkProb ? best.div(best.sum(-1, { keepdim: true })) : best;
  return {
    weights: weights.to({ dtype: logits.dtype }),
    experts,
    statistics: { probabilities: sums, counts: countTokens(experts, numExperts, valid), balance: null },
  };
}

/** float32 [E]: how often each expert stands in `experts` [N, K], rows with `valid` 0 left out. */
export function countTokens(experts: Tensor, numExperts: number, valid: Tensor | null): Tensor {
  return torch.noGrad(() => {
    const flat = experts.flatten();
    if (!valid) return flat.to({ dtype: 'float32' }).histc({ bins: numExperts, min: 0, max: numExperts });
    const weights = valid
      .unsqueeze(1)
      .expand([...experts.shape])
      .reshape([-1]);
    return torch.zeros([numExperts], { device: experts.device }).scatterAdd_(0, flat, weights);
  });
}

/**
 * The router of LLaMA-MoE, `TopKBalancedNoisyGate`: a two-layer gate, noise while training, softmax over the
 * selected experts. Shape letters: block.ts.
 */

import { createHash } from 'node:crypto';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { ForwardContext } from './block.js';
import type { ModelConfig } from './config.js';
import { countTokens, type Routing } from './router.js';
import { type BlockStorage, tensorOf } from './store.js';

/**
 * Chooses experts. With l_g = W_2 tanh(W_1 x) and s = softplus(W_n x) + epsilon:
 * l = l_g + N(0, 1) s while training with noise, else l_g; weights = softmax of the K largest l, times
 * score_scale_factor.
 *
 * The layer's balance loss is CV^2(importance) + CV^2(load) over the E experts, importance the sums of the weights
 * before the scale, load as in {@link loadOf}. Padding takes no part in it, which upstream, trained on packed rows,
 * does not ask.
 *
 * @param gates [N, 2 E]: W_1 x and W_n x
 */
export function routeNoisily(
  gates: Tensor,
  storage: BlockStorage,
  config: ModelConfig,
  context: ForwardContext,
): Routing {
  const { numExperts, numExpertsPerTok: topK } = config;
  const { valid, tokens } = context.batch;
  const dtype = gates.dtype === 'float64' ? 'float64' : 'float32';
  const [first, forNoise] = gates.split([numExperts, numExperts], { dim: 1 }) as [Tensor, Tensor];
  const clean = first.tanh().mm(tensorOf(storage, 'gateSecond').t()).to({ dtype });
  const noise = config.gateAddNoise ? context.noise?.(storage.layout.layer!) : undefined;
  const deviation = forNoise.to({ dtype }).softplus().add(config.gateNoiseEpsilon);
  const disturbance = noise?.mul(deviation);
  const logits = disturbance ? clean.add(disturbance) : clean;

  const [largest, order] = logits.topk(Math.min(topK + 1, numExperts));
  const [experts, scores] = context.forcedExperts
    ? forced(context.forcedExperts, logits)
    : topK === numExperts
      ? [null, logits.softmax(-1)]
      : [order.narrow(1, 0, topK), largest.narrow(1, 0, topK).softmax(-1)];
  const perExpert = experts ? logits.zerosLike().scatter_(1, experts, scores) : scores;
  const importance = sumOverTokens(perExpert, valid);
  const counts = experts
    ? countTokens(experts, numExperts, valid)
    : torch.full([numExperts], tokens, { dtype: 'float32', device: logits.device });
  const smooth = disturbance && experts && !context.forcedExperts;
  const load = smooth
    ? sumOverTokens(loadOf({ clean, deviation, disturbance, largest, topK }), valid)
    : counts.to({ dtype });
  const weights = scores.mul(config.scoreScaleFactor).to({ dtype: gates.dtype });
  const balance = squaredVariation(importance).add(squaredVariation(load));
  return { weights, experts, statistics: { probabilities: importance, counts, balance } };
}

/** The experts that a caller wants, [N, K], weighted equally. */
function forced(experts: Tensor, logits: Tensor): [Tensor, Tensor] {
  const chosen = experts.reshape([logits.shape[0]!, -1]);
  const options = { dtype: logits.dtype, device: logits.device };
  return [chosen, torch.full([...chosen.shape], 1 / chosen.shape[1]!, options)];
}

function sumOverTokens(values: Tensor, valid: Tensor | null): Tensor {
  return (valid ? values.mul(valid.unsqueeze(1)) : values).sum(0);
}

/**
 * How probable it is that an expert is chosen when its noise is drawn again (Shazeer et al. 2017), [N, E]:
 * Phi((l_g - threshold) / s), the threshold being the largest logit that is left out for experts that are in, and
 * the smallest that is in for those that are out.
 *
 * Which experts are in is decided as upstream does it, by comparing the noise alone, not the logit, with the
 * threshold: a quirk that its checkpoints were trained with.
 */
function loadOf(router: {
  clean: Tensor;
  deviation: Tensor;
  disturbance: Tensor;
  /** [N, K + 1], falling */
  largest: Tensor;
  topK: number;
}): Tensor {
  const { clean, deviation, disturbance, largest, topK } = router;
  const ifIn = largest.narrow(1, topK, 1);
  const ifOut = largest.narrow(1, topK - 1, 1);
  const threshold = torch.where(disturbance.gt(ifIn), ifIn, ifOut);
  const z = clean.sub(threshold).div(deviation);
  return z.mul(Math.SQRT1_2).erf().add(1).mul(0.5);
}

/** (unbiased variance) / (mean^2 + 1e-10) over the experts: [E] -> []. */
function squaredVariation(values: Tensor): Tensor {
  const mean = values.mean(null);
  const variance = values
    .sub(mean)
    .square()
    .sum()
    .div(values.numel - 1);
  return variance.div(mean.square().add(1e-10));
}

/** Which rows of which step noise is drawn for. */
interface NoisePlace {
  seed: number;
  /** Optimizer steps done before this one. */
  step: number;
  /** The first row's number in the global batch. */
  firstRow: number;
  rows: number;
  sequenceLength: number;
}

/**
 * Noise for a micro-batch: a pure function of (seed, layer, step, row of the global batch, position, expert), so
 * that neither resuming nor the size of micro-batches changes it.
 *
 * @returns for a layer standard normal numbers [rows * sequenceLength, E], float32
 */
export function gateNoise(
  { seed, step, firstRow, rows, sequenceLength }: NoisePlace,
  numExperts: number,
  device: string,
): (layer: number) => Tensor {
  return (layer) =>
    torch.scope(() => {
      const noise = torch.zeros([rows, sequenceLength, numExperts]);
      for (let row = 0; row < rows; row++) {
        const name = ['gate noise', seed, layer, step, firstRow + row].join('\0');
        const key = createHash('sha256').update(name, 'utf8').digest().subarray(0, 8);
        torch.initNormal_(noise.select(0, row), key, 0, 1);
      }
      return noise.view([rows * sequenceLength, numExperts]).to({ device });
    });
}

/** The average of one backbone tensor over submodels, in float64, and how far they have drifted from it. */
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

/** Sums of squares, to be added over tensors. */
export interface DriftSums {
  /** sum_k ||theta_k - average||^2, with sum_k gamma_k theta_k as the average. */
  spread: number;
  /** ||average||^2 */
  size: number;
}

export interface Averaged {
  /** The merged tensor, of the dtype of the submodels'. */
  merged: Tensor;
  drift: DriftSums;
}

/**
 * Merges one tensor of the backbones.
 *
 * plain: theta* = sum_k gamma_k theta_k (eq. 2). radial: with d_k = theta_k - theta_0 and m = sum_k gamma_k d_k,
 * theta* = theta_0 + m (sum_k gamma_k ||d_k||) / ||m||, which gives back what averaging takes from the length of
 * the changes. Weights that are exactly 0 keep their submodel out, so 1, 0, 0 returns the first bit for bit, by
 * either way.
 *
 * @param tensors theta_k, one per submodel, same shape and dtype
 * @param gamma gamma_k, which sum to 1
 * @param start theta_0 for radial, null for plain
 */
export function averageTensors(
  tensors: readonly Tensor[],
  gamma: readonly number[],
  start: Tensor | null,
): Averaged {
  return torch.scope(() => {
    const { dtype } = tensors[0]!;
    const all = tensors.map((tensor, k) => ({ tensor: tensor.to({ dtype: 'float64' }), gamma: gamma[k]! }));
    const parts = all.filter((part) => part.gamma !== 0);
    const average = weightedSum(parts);
    const spread = all.reduce((sum, { tensor }) => sum + tensor.sub(average).square().sum().item(), 0);
    const drift = { spread, size: average.square().sum().item() };
    const merged = start === null ? average : radial(parts, start.to({ dtype: 'float64' }), average);
    return { merged: merged.to({ dtype }), drift };
  });
}

/** A submodel's tensor in float64 and its weight, which is not 0. */
interface Part {
  tensor: Tensor;
  gamma: number;
}

function weightedSum([first, ...others]: readonly Part[]): Tensor {
  // Not added to zeros, which would turn -0 into 0.
  const sum = first!.tensor.mul(first!.gamma);
  for (const { tensor, gamma } of others) sum.add_(tensor, { alpha: gamma });
  return sum;
}

/** Lengths that differ by less than this share are equal but for rounding. */
const ROUNDING = 1e-12;

function radial(parts: readonly Part[], start: Tensor, average: Tensor): Tensor {
  const length = (tensor: Tensor): number => tensor.linalgVectorNorm().item();
  const mean = average.sub(start);
  const meanLength = length(mean);
  const wanted = parts.reduce((sum, { tensor, gamma }) => sum + gamma * length(tensor.sub(start)), 0);
  const alike = Math.abs(wanted - meanLength) <= ROUNDING * wanted;
  const withoutDirection = meanLength <= ROUNDING * wanted;
  if (alike || withoutDirection) return average;
  return average.add(mean, { alpha: wanted / meanLength - 1 });
}

/**
 * Relative drift of the backbones: sqrt(mean_k ||theta_k - average||^2 / ||average||^2).
 *
 * @param sums one per tensor of the backbone
 * @param submodels how many were averaged
 */
export function relativeDrift(sums: readonly DriftSums[], submodels: number): number {
  const spread = sums.reduce((sum, part) => sum + part.spread, 0);
  const size = sums.reduce((sum, part) => sum + part.size, 0);
  return Math.sqrt(spread / submodels / size);
}

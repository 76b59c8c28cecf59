/** The average of one backbone tensor over submodels, in float64, and how far they have drifted from it. */
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

/** Sums of squares, to be added over tensors. */
export interface DriftSums {
  /** sum_k ||theta_k - average||^2 for the plain average. */
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
 * the changes. Weights that are exactly 0 keep their submodel out, so 1, 0, 0 returns the first bit for bit.
 *
 * @param tensors theta_k, one per submodel, same shape and dtype
 * @param start theta_0, needed for radial
 */
export function averageTensors(
  tensors: readonly Tensor[],
  gamma: readonly number[],
  start: Tensor | null,
): Averaged {
  return torch.scope(() => {
    const { dtype } = tensors[0]!;
    const precise = tensors.map((tensor) => tensor.to({ dtype: 'float64' }));
    const average = weightedSum(precise, gamma);
    const spread = precise.reduce((sum, tensor) => sum + tensor.sub(average).square().sum().item(), 0);
    const drift = { spread, size: average.square().sum().item() };
    const merged = start === null ? average : radial(precise, gamma, start.to({ dtype: 'float64' }), average);
    return { merged: merged.to({ dtype }), drift };
  });
}

function weightedSum(tensors: readonly Tensor[], gamma: readonly number[]): Tensor {
  const sum = torch.zeros([...tensors[0]!.shape], { dtype: 'float64' });
  tensors.forEach((tensor, k) => {
    if (gamma[k] !== 0) sum.add_(tensor, { alpha: gamma[k]! });
  });
  return sum;
}

function radial(
  tensors: readonly Tensor[],
  gamma: readonly number[],
  start: Tensor,
  average: Tensor,
): Tensor {
  const length = (tensor: Tensor): number => tensor.linalgVectorNorm().item();
  const mean = average.sub(start);
  const meanLength = length(mean);
  const wanted = tensors.reduce((sum, tensor, k) => sum + gamma[k]! * length(tensor.sub(start)), 0);
  // Backbones that did not move, or whose changes cancel, have no mean direction.
  return meanLength === 0 ? average : start.add(mean, { alpha: wanted / meanLength });
}

/**
 * Relative drift of the backbones, algorithm section 6: sqrt(mean_k ||theta_k - average||^2 / ||average||^2).
 */
export function relativeDrift(sums: readonly DriftSums[], submodels: number): number {
  const spread = sums.reduce((sum, part) => sum + part.spread, 0);
  const size = sums.reduce((sum, part) => sum + part.size, 0);
  return Math.sqrt(spread / submodels / size);
}

/**
 * The average of one backbone tensor over submodels, in float64, and how far they have drifted from it. All of it can
 * be done in pieces, whose sums and lengths are put together.
 */
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

/** theta_0 of the radial average, and what the mean change is multiplied by, less 1; see {@link radialStretch}. */
export interface Radial {
  start: Tensor;
  stretch: number;
}

/**
 * Merges one tensor of the backbones, or a piece of one.
 *
 * plain: theta* = sum_k gamma_k theta_k (eq. 2). radial: with d_k = theta_k - theta_0 and m = sum_k gamma_k d_k,
 * theta* = theta_0 + m (sum_k gamma_k ||d_k||) / ||m||, which gives back what averaging takes from the length of
 * the changes. Weights that are exactly 0 keep their submodel out, so 1, 0, 0 returns the first bit for bit, by
 * either way.
 *
 * @param tensors theta_k, one per submodel, same shape and dtype
 * @param gamma gamma_k, which sum to 1
 * @param radial null for plain
 */
export function averageTensors(
  tensors: readonly Tensor[],
  gamma: readonly number[],
  radial: Radial | null,
): Averaged {
  return torch.scope(() => {
    const { dtype } = tensors[0]!;
    const all = inFloat64(tensors, gamma);
    const average = weightedSum(all.filter((part) => part.gamma !== 0));
    const spread = all.reduce((sum, { tensor }) => sum + squares(tensor.sub(average)), 0);
    const drift = { spread, size: squares(average) };
    if (radial === null || radial.stretch === 0) return { merged: average.to({ dtype }), drift };
    const mean = average.sub(radial.start.to({ dtype: 'float64' }));
    return { merged: average.add(mean, { alpha: radial.stretch }).to({ dtype }), drift };
  });
}

/** The sum of squares: one pass over memory, which is what the time goes into. */
function squares(tensor: Tensor): number {
  const flat = tensor.flatten();
  return flat.dot(flat).item();
}

/** A submodel's tensor in float64 and its weight. */
interface Part {
  tensor: Tensor;
  gamma: number;
}

function inFloat64(tensors: readonly Tensor[], gamma: readonly number[]): Part[] {
  return tensors.map((tensor, k) => ({ tensor: tensor.to({ dtype: 'float64' }), gamma: gamma[k]! }));
}

function weightedSum([first, ...others]: readonly Part[]): Tensor {
  // Not added to zeros, which would turn -0 into 0.
  const sum = first!.tensor.mul(first!.gamma);
  for (const { tensor, gamma } of others) sum.add_(tensor, { alpha: gamma });
  return sum;
}

/** Lengths of changes: ||m|| and every ||d_k||, 0 for submodels of weight 0. */
export interface ChangeLengths {
  mean: number;
  parts: readonly number[];
}

/** The lengths of the changes of one tensor, or of a piece of one. */
export function changeLengths(
  tensors: readonly Tensor[],
  gamma: readonly number[],
  start: Tensor,
): ChangeLengths {
  return torch.scope(() => {
    const from = start.to({ dtype: 'float64' });
    const all = inFloat64(tensors, gamma);
    const length = (tensor: Tensor): number => tensor.sub(from).linalgVectorNorm().item();
    return {
      mean: length(weightedSum(all.filter((part) => part.gamma !== 0))),
      parts: all.map((part) => (part.gamma === 0 ? 0 : length(part.tensor))),
    };
  });
}

/** Lengths that differ by less than this share are equal but for rounding. */
const ROUNDING = 1e-12;

/**
 * (sum_k gamma_k ||d_k||) / ||m|| - 1: by how much the mean change is lengthened; 0 where the changes are alike, and
 * where the mean has no direction.
 *
 * @param pieces the lengths of the pieces of one tensor
 */
export function radialStretch(pieces: readonly ChangeLengths[], gamma: readonly number[]): number {
  const mean = Math.hypot(...pieces.map((piece) => piece.mean));
  const wanted = gamma.reduce(
    (sum, weight, k) => sum + weight * Math.hypot(...pieces.map((piece) => piece.parts[k]!)),
    0,
  );
  const alike = Math.abs(wanted - mean) <= ROUNDING * wanted;
  const withoutDirection = mean <= ROUNDING * wanted;
  return alike || withoutDirection ? 0 : wanted / mean - 1;
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

/** Above this drift the average usually begins worse than its parts: small models turned at 0.25 to 0.34. */
const DRIFT_WARNING = 0.25;

/** What is to be said of backbones that have drifted far apart; null where they have not, or one alone is kept. */
export function driftWarning(drift: number, gamma: readonly number[]): string | null {
  if (drift <= DRIFT_WARNING || gamma.some((weight) => weight === 1)) return null;
  return `Warning: above ${DRIFT_WARNING} the average of backbones usually begins worse than its parts.`;
}

/** gamma_k of eq. (2): the weight of submodel k's backbone in the average. */
import { RequestError } from '../errors.js';

/** What a submodel's weight may depend on. */
export interface SubmodelWork {
  /** Non-padding tokens that it was trained on. */
  tokens: number;
  /** Optimizer steps. */
  steps: number;
}

export interface GammaRequest {
  mode: 'uniform' | 'samples' | 'wpsgd' | readonly number[];
  /** wpsgd: lambda * eta. */
  lambdaEta: number;
}

/**
 * The weights, which sum to 1.
 *
 * `uniform`: 1 / E (Algorithm 1, line 9). `samples`: n_k / sum n, the sample-count-weighted average of section
 * 3.1, by tokens. `wpsgd`: (1 - lambda eta)^d_k / sum_j (1 - lambda eta)^d_j with d_k the steps by which k is
 * behind the longest (WP-SGD, arXiv 1708.04801). A list: exactly these, so 1, 0, 0, 0 keeps one backbone.
 *
 * @throws RequestError for a list of another length or that does not sum to 1
 */
export function backboneWeights(work: readonly SubmodelWork[], { mode, lambdaEta }: GammaRequest): number[] {
  if (Array.isArray(mode)) return givenWeights(mode, work.length);
  const raw = work.map(({ tokens, steps }) => {
    if (mode === 'samples') return tokens;
    if (mode === 'wpsgd') return (1 - lambdaEta) ** (Math.max(...work.map((other) => other.steps)) - steps);
    return 1;
  });
  const sum = raw.reduce((a, b) => a + b, 0);
  return raw.map((value) => value / sum);
}

function givenWeights(gamma: readonly number[], experts: number): number[] {
  const sum = gamma.reduce((a, b) => a + b, 0);
  if (gamma.length !== experts || Math.abs(sum - 1) > 1e-9) {
    throw new RequestError('The backbone weights do not fit.', {
      key: 'merge.gamma',
      expected: `${experts} numbers that sum to 1`,
      found: `${gamma.length} numbers that sum to ${sum}`,
    });
  }
  return [...gamma];
}

/** gamma_k of eq. (2): the weight of submodel k's backbone in the average. */
import { RequestError } from '../errors.js';
import { GAMMA_TOLERANCE } from '../recipe/check.js';

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
 * @throws RequestError for a list of another length or that does not sum to 1, for submodels without a token, and
 * for a lambda eta of 1 or more, with which a step would not contract
 */
export function backboneWeights(work: readonly SubmodelWork[], { mode, lambdaEta }: GammaRequest): number[] {
  switch (mode) {
    case 'uniform':
      return shares(work.map(() => 1));
    case 'samples':
      if (work.every(({ tokens }) => tokens === 0)) {
        throw new RequestError('No submodel was trained on a token, so none has a weight.', {
          key: 'merge.gamma',
          expected: 'uniform, or numbers',
          found: mode,
        });
      }
      return shares(work.map(({ tokens }) => tokens));
    case 'wpsgd': {
      if (!(lambdaEta >= 0 && lambdaEta < 1)) {
        throw new RequestError('WP-SGD has no weights for this lambda eta.', {
          key: 'merge.lambdaEta',
          expected: 'from 0 to below 1',
          found: String(lambdaEta),
        });
      }
      const longest = Math.max(...work.map(({ steps }) => steps));
      return shares(work.map(({ steps }) => (1 - lambdaEta) ** (longest - steps)));
    }
    default:
      return givenWeights(mode, work.length);
  }
}

/** The values divided by their sum. */
function shares(values: readonly number[]): number[] {
  const sum = values.reduce((a, b) => a + b, 0);
  return values.map((value) => value / sum);
}

function givenWeights(gamma: readonly number[], submodels: number): number[] {
  const sum = gamma.reduce((a, b) => a + b, 0);
  if (gamma.length !== submodels || !(Math.abs(sum - 1) <= GAMMA_TOLERANCE)) {
    throw new RequestError('The backbone weights do not fit.', {
      key: 'merge.gamma',
      expected: `one number for each submodel, ${submodels} in all, that sum to 1`,
      found: `${gamma.length} numbers that sum to ${sum}`,
    });
  }
  return [...gamma];
}

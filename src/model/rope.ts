/** Rotary position embedding, half-split as in Llama and Qwen: out = x cos + rotate_half(x) sin. */

import type { DType, Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { Llama3Scaling, ModelConfig } from './config.js';

/** Tables of {@link ropeTables} in JavaScript. */
export interface RopeAngles {
  cosine: Float32Array;
  sine: Float32Array;
  shape: [number, number, number];
}

/**
 * Angles t * theta^(-2i/D) in float32: cosine and sine [T, 1, D], both halves alike, the first half of the sine
 * negated.
 *
 * @param first position t of the first row of the tables
 */
export function ropeAngles(config: ModelConfig, length: number, first = 0): RopeAngles {
  const { headDim, ropeTheta, ropeScaling } = config;
  const half = headDim / 2;
  const cosine = new Float32Array(length * headDim);
  const sine = new Float32Array(length * headDim);
  for (let i = 0; i < half; i++) {
    const plain = Math.fround(1 / Math.fround(ropeTheta ** ((2 * i) / headDim)));
    const frequency = ropeScaling === null ? plain : Math.fround(llama3Frequency(plain, ropeScaling));
    for (let t = 0; t < length; t++) {
      const angle = Math.fround((first + t) * frequency);
      const at = t * headDim + i;
      cosine[at] = cosine[at + half] = Math.cos(angle);
      sine[at] = -Math.sin(angle);
      sine[at + half] = Math.sin(angle);
    }
  }
  return { cosine, sine, shape: [length, 1, headDim] };
}

/**
 * Llama 3: waves shorter than originalMaxPositionEmbeddings / highFreqFactor stay, those longer than
 * originalMaxPositionEmbeddings / lowFreqFactor are stretched by `factor`, those between by a blend of both.
 */
function llama3Frequency(frequency: number, scaling: Llama3Scaling): number {
  const { factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPositionEmbeddings: length } = scaling;
  const wave = (2 * Math.PI) / frequency;
  if (wave < length / high) return frequency;
  if (wave > length / low) return frequency / factor;
  const share = (length / wave - low) / (high - low);
  return ((1 - share) * frequency) / factor + share * frequency;
}

/** The angles as tensors of the enclosing scope. */
export function ropeTables(
  angles: RopeAngles,
  options: { dtype: DType; device: string },
): { cosine: Tensor; sine: Tensor } {
  const { cosine, sine, shape } = angles;
  return { cosine: torch.tensor(cosine, shape, options), sine: torch.tensor(sine, shape, options) };
}

/** Rotates x [B, T, heads, D] by the tables of {@link ropeTables}. Exchanging the halves is a roll by D / 2. */
export function applyRope(x: Tensor, rope: { cosine: Tensor; sine: Tensor }): Tensor {
  const swapped = x.roll(x.shape[3]! / 2, { dims: -1 });
  return x.mul(rope.cosine).addcmul(swapped, rope.sine);
}

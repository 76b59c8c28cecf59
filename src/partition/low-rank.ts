/** The leading singular vectors of a matrix, by randomized subspace iteration (Halko, Martinsson and Tropp 2011). */
import type { Random } from '../corpus/random.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { Pause } from './pause.js';

/** Columns beyond the wanted rank, and passes: enough that the wanted vectors are exact to float32 in practice. */
const OVERSAMPLING = 16;
const PASSES = 6;

/** A matrix [m, n] by what is done with it; it may be sparse, or never be whole in memory. */
export interface LinearMap {
  rows: number;
  columns: number;
  device: string;
  /** A x: [n, w] to [m, w]. */
  times(x: Tensor): Tensor;
  /** A^T y: [m, w] to [n, w]. */
  transposeTimes(y: Tensor): Tensor;
}

/** A dense matrix, float32 [m, n], as a map. */
export function denseMap(matrix: Tensor): LinearMap {
  const [rows, columns] = matrix.shape as [number, number];
  return {
    rows,
    columns,
    device: matrix.device,
    times: (x) => matrix.mm(x),
    transposeTimes: (y) => matrix.t().mm(y),
  };
}

/** k leading left singular vectors and values. */
export interface LowRank {
  /** float32 [m, k] row-major, orthonormal columns; the largest element of each column is positive. */
  vectors: Float32Array;
  /** [k], falling. */
  values: Float64Array;
  /** k = min(rank, m, n). */
  rank: number;
}

/**
 * Truncated singular value decomposition of a matrix of float32.
 */
export async function truncatedSvd(
  matrix: LinearMap,
  rank: number,
  random: Random,
  pause: Pause,
): Promise<LowRank> {
  const { rows: m, columns: n, device } = matrix;
  const k = Math.min(rank, m, n);
  const width = Math.min(k + OVERSAMPLING, m, n);
  // Signs, not normal numbers: as good for this, and the same on every machine.
  const signs = Float32Array.from({ length: n * width }, () => (random.uint32() & 1) * 2 - 1);
  let basis = torch.scope(() => orthonormal(matrix.times(torch.tensor(signs, [n, width], { device }))));
  try {
    for (let pass = 0; pass < PASSES; pass++) {
      const next = torch.scope(() => orthonormal(matrix.times(orthonormal(matrix.transposeTimes(basis)))));
      basis.dispose();
      basis = next;
      await pause();
    }
    return torch.scope(() => {
      const inside = matrix.transposeTimes(basis).to({ dtype: 'float64' });
      // eigh sorts rising; of B B^T with B = Q^T A, which is W diag(s^2) W^T, the last k columns are wanted, the largest first.
      const [squares, rotation] = inside.t().mm(inside).linalgEigh();
      const leading = rotation
        .narrow(1, width - k, k)
        .flip([1])
        .to({ dtype: 'float32' });
      const values = Float64Array.from(
        squares
          .toNumbers()
          .slice(width - k)
          .reverse(),
        (s) => Math.sqrt(Math.max(0, s)),
      );
      return { vectors: fixSigns(basis.mm(leading).toArray() as Float32Array, k), values, rank: k };
    });
  } finally {
    basis.dispose();
  }
}

/** An orthonormal basis of the columns: Q of QR. */
function orthonormal(columns: Tensor): Tensor {
  return torch.linalgQr(columns)[0];
}

/** A singular vector is known up to its sign: the largest element, of equal ones the first, becomes positive. */
function fixSigns(vectors: Float32Array, k: number): Float32Array {
  for (let column = 0; column < k; column++) {
    let largest = 0;
    for (let i = column; i < vectors.length; i += k) {
      if (Math.abs(vectors[i]!) > Math.abs(largest)) largest = vectors[i]!;
    }
    if (largest < 0) for (let i = column; i < vectors.length; i += k) vectors[i] = -vectors[i]!;
  }
  return vectors;
}

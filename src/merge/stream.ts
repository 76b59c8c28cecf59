/** One tensor of the backbones, averaged piece by piece: the memory needed does not depend on its size. */
import { setImmediate } from 'node:timers/promises';
import { DTYPE_BYTES } from '../formats/safetensors.js';
import type { Weights } from '../formats/weights.js';
import { dtypeOfSafetensors } from '../model/store-files.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import {
  averageTensors,
  type ChangeLengths,
  changeLengths,
  type DriftSums,
  radialStretch,
} from './average.js';

/**
 * Bytes of each submodel's tensor at once. In float64, four times as much for bfloat16, these pieces stay in the
 * processor's cache and in memory that was used before: with 4 MiB the same work took three times as long.
 */
const PIECE_BYTES = 1 << 18;

/** How backbones are averaged. */
export interface Averaging {
  gamma: readonly number[];
  /** theta_0 for the radial average, null for the plain one. */
  start: Tensor | null;
}

/**
 * Averages tensor `name` of all submodels into `sink`.
 * @returns the sums of its drift
 */
export async function streamAverage(
  submodels: readonly Weights[],
  name: string,
  { gamma, start }: Averaging,
  sink: (bytes: Uint8Array) => void,
): Promise<DriftSums> {
  const flat = start === null ? null : torch.scope(() => start.detach().flatten());
  const startOf = ({ first, length }: Piece): Tensor => flat!.narrow(0, first, length);
  try {
    let stretch = 0;
    if (flat !== null) {
      const lengths: ChangeLengths[] = [];
      await forEachPiece(submodels, name, (piece) => {
        lengths.push(changeLengths(piece.tensors(), gamma, startOf(piece)));
      });
      stretch = radialStretch(lengths, gamma);
    }
    const drift: DriftSums = { spread: 0, size: 0 };
    await forEachPiece(submodels, name, (piece) => {
      const [bytes] = piece.bytes as [Uint8Array];
      // The mean of equal numbers is that number, whatever the rounding of its sum.
      const same = stretch === 0 && piece.bytes.every((other) => Buffer.compare(other, bytes) === 0);
      const tensors = piece.tensors();
      const radial = flat && { start: startOf(piece), stretch };
      const averaged = averageTensors(same ? tensors.slice(0, 1) : tensors, same ? [1] : gamma, radial);
      drift.spread += averaged.drift.spread;
      drift.size += averaged.drift.size;
      sink(same ? bytes : averaged.merged.bytes());
    });
    return drift;
  } finally {
    flat?.dispose();
  }
}

/** The same elements of one tensor of every submodel. */
interface Piece {
  /** Number of the first element, and how many there are. */
  first: number;
  length: number;
  /** Of each submodel; overwritten by the next piece. */
  bytes: readonly Uint8Array[];
  /** Copies of them as tensors [length], of the enclosing scope. */
  tensors(): Tensor[];
}

/** Calls `visit` for all pieces in order, each within a scope of its own; the event loop turns between them. */
async function forEachPiece(
  submodels: readonly Weights[],
  name: string,
  visit: (piece: Piece) => void,
): Promise<void> {
  const { bytes: total, dtype: stored } = submodels[0]!.info(name);
  const width = DTYPE_BYTES[stored];
  const buffers = submodels.map(() => new Uint8Array(Math.min(PIECE_BYTES, total)));
  for (let offset = 0; offset < total; offset += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, total - offset);
    const bytes = submodels.map((weights, k) => weights.read(name, buffers[k]!, offset, length));
    const tensors = () =>
      bytes.map((part) => torch.fromBytes(part, [length / width], dtypeOfSafetensors(stored)));
    torch.scope(() => visit({ first: offset / width, length: length / width, bytes, tensors }));
    await setImmediate();
  }
}

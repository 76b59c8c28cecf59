/** One tensor of the backbones, averaged piece by piece: the memory needed does not depend on its size. */
import { setImmediate } from 'node:timers/promises';
import { DTYPE_BYTES } from '../formats/safetensors.js';
import type { Weights } from '../formats/weights.js';
import { dtypeOfSafetensors } from '../model/store-files.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { averageTensors, changeLengths, type DriftSums, radialStretch } from './average.js';

/** Bytes of each submodel's tensor at once; in float64 four times as much of bfloat16. */
const PIECE_BYTES = 1 << 22;

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
  const { bytes, dtype: stored } = submodels[0]!.info(name);
  const dtype = dtypeOfSafetensors(stored);
  const flat = start === null ? null : torch.scope(() => start.detach().flatten());
  const piecesOf = (offset: number): Uint8Array[] =>
    submodels.map((weights) => weights.read(name, undefined, offset, Math.min(PIECE_BYTES, bytes - offset)));
  const tensorsOf = (pieces: readonly Uint8Array[]): Tensor[] =>
    pieces.map((piece) => torch.fromBytes(piece, [piece.length / DTYPE_BYTES[stored]], dtype));
  const startOf = (offset: number, length: number): Tensor =>
    flat!.narrow(0, offset / DTYPE_BYTES[stored], length / DTYPE_BYTES[stored]);
  try {
    let stretch = 0;
    if (flat !== null) {
      const lengths = [];
      for (let offset = 0; offset < bytes; offset += PIECE_BYTES) {
        const pieces = piecesOf(offset);
        lengths.push(
          torch.scope(() => changeLengths(tensorsOf(pieces), gamma, startOf(offset, pieces[0]!.length))),
        );
        await setImmediate();
      }
      stretch = radialStretch(lengths, gamma);
    }
    const drift: DriftSums = { spread: 0, size: 0 };
    for (let offset = 0; offset < bytes; offset += PIECE_BYTES) {
      const pieces = piecesOf(offset);
      // The mean of equal numbers is that number, whatever the rounding of its sum.
      const same = stretch === 0 && pieces.every((piece) => Buffer.compare(piece, pieces[0]!) === 0);
      const piece = torch.scope(() => {
        const tensors = tensorsOf(same ? pieces.slice(0, 1) : pieces);
        const radial = flat && { start: startOf(offset, pieces[0]!.length), stretch };
        const averaged = averageTensors(tensors, same ? [1] : gamma, radial);
        drift.spread += averaged.drift.spread;
        drift.size += averaged.drift.size;
        return same ? pieces[0]! : averaged.merged.bytes();
      });
      sink(piece);
      await setImmediate();
    }
    return drift;
  } finally {
    flat?.dispose();
  }
}

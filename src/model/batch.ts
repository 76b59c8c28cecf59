/** Token rows as the model takes them: B rows of T tokens, N = B * T, on the model's device. */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

/** B rows of T tokens in JavaScript, row-major; padding stands at the end of a row. */
export interface TokenRows {
  /** [N] token ids */
  inputIds: Int32Array;
  /** [N] the token that each position predicts, already shifted; -100 where it predicts nothing */
  labels: Int32Array;
  /** [N] 0 at padding; null where nothing is padded */
  valid: Uint8Array | null;
  /** [N] the place of each token in its document, where rows hold several that are kept apart */
  positions?: Int32Array | null;
  /** B */
  rows: number;
  /** T */
  sequenceLength: number;
  /** Tokens that are no padding. */
  tokens: number;
  /** Labels that are not -100. */
  targets: number;
}

/** The same as tensors. */
export interface TokenBatch {
  /** int64 [N] */
  inputIds: Tensor;
  /** int64 [N] */
  labels: Tensor;
  /** float32 [N], 0 at padding; null where nothing is padded */
  valid: Tensor | null;
  /** int64 [N], see {@link TokenRows.positions} */
  positions?: Tensor | null;
  rows: number;
  sequenceLength: number;
  tokens: number;
  targets: number;
}

/** Copies rows to a device. The tensors belong to the enclosing scope. */
export function toDevice(rows: TokenRows, device: string): TokenBatch {
  const { sequenceLength, tokens, targets } = rows;
  const ids = (values: Int32Array): Tensor =>
    torch.tensor(values, [values.length], { dtype: 'int64', device });
  return {
    inputIds: ids(rows.inputIds),
    labels: ids(rows.labels),
    valid: rows.valid && torch.tensor(rows.valid, [rows.valid.length], { dtype: 'float32', device }),
    positions: rows.positions ? ids(rows.positions) : null,
    rows: rows.rows,
    sequenceLength,
    tokens,
    targets,
  };
}

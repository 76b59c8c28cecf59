/** Where the vectors of all documents lie: in memory, or in a file mapped into it where they are too many. */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { freemem } from 'node:os';
import { temporaryPath } from '../formats/atomic.js';
import { systemFailure } from '../formats/system-failure.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

/** Bytes of vectors that are kept on a GPU; more lie in main memory and are moved piece by piece. */
const GPU_BYTES = 2 ** 32;
const FLOAT_BYTES = 4;

/** A matrix that is filled row by row. Dispose it when done. */
export class VectorRows {
  /** float32 [n, d]; rows that are not written yet are undefined. */
  #tensor: Tensor | null = null;
  readonly #file: string | null = null;
  #descriptor: number | null = null;

  /**
   * @param folder where a file may lie for as long as this lives
   * @param memory bytes above which it does; by default half of what is free
   */
  constructor(
    readonly count: number,
    readonly dimension: number,
    device: string,
    folder: string,
    memory = freemem() / 2,
  ) {
    const bytes = FLOAT_BYTES * count * dimension;
    if (bytes <= (device === 'cpu' ? memory : Math.min(memory, GPU_BYTES))) {
      this.#tensor = torch.empty([count, dimension], { dtype: 'float32', device });
    } else if (bytes <= memory) {
      this.#tensor = torch.empty([count, dimension], { dtype: 'float32' });
    } else {
      this.#file = temporaryPath(`${folder}/vectors`);
      try {
        this.#descriptor = openSync(this.#file, 'wx', 0o644);
      } catch (error) {
        throw systemFailure(error, this.#file, 'write');
      }
    }
  }

  /** Writes the rows from `first` on: [count, d]. In a file they follow one another. */
  write(rows: Tensor, first: number): void {
    if (this.#tensor !== null) {
      const into = this.#tensor;
      torch.scope(() => {
        into.narrow(0, first, rows.shape[0]!).copy_(rows);
      });
      return;
    }
    const bytes = rows.bytes();
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#descriptor!, bytes, done);
    } catch (error) {
      throw systemFailure(error, this.#file!, 'write');
    }
  }

  /** The matrix, once every row is written. Changes reach the file, where it lies in one. */
  get tensor(): Tensor {
    if (this.#tensor === null) {
      const { count, dimension } = this;
      this.#tensor = torch.scope(() =>
        torch
          .fromFile(this.#file!, { shared: true, size: count * dimension, dtype: 'float32' })
          .view([count, dimension]),
      );
    }
    return this.#tensor;
  }

  dispose(): void {
    this.#tensor?.dispose();
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
    if (this.#file !== null) rmSync(this.#file, { force: true });
  }
}

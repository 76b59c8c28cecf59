/**
 * Keys and values of positions that were computed before, so that a pass computes new ones only. Without a graph.
 * Shape letters: block.ts.
 */

import type { DType, Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { ModelConfig } from './config.js';

/** What attention asks of the positions before those of its pass. */
export interface AttentionCache {
  /** P: how many there are, in every row. */
  readonly length: number;
  /**
   * Keys and values of all positions of a layer.
   *
   * @param key [B, G, T, D], rotated: those of this pass
   * @param value [B, G, T, D]
   * @returns [B, G, P + T, D] each, this pass last
   */
  extend(layer: number, key: Tensor, value: Tensor): { key: Tensor; value: Tensor };
  /** Ends a pass over T positions, after all layers. */
  advance(count: number): void;
}

/**
 * A cache that grows with every pass, in memory of a fixed size. Make it outside of any torch.scope: it lives until
 * `dispose`.
 */
export class KeyValueCache implements AttentionCache {
  /** One for each layer: [2, B, G, capacity, D], keys before values. */
  readonly #layers: readonly Tensor[];
  #length = 0;

  /** @param options `capacity`: positions that fit into every row */
  constructor(
    config: ModelConfig,
    readonly options: { rows: number; capacity: number; dtype: DType; device: string },
  ) {
    const { rows, capacity, dtype, device } = options;
    const shape = [2, rows, config.numKeyValueHeads, capacity, config.headDim];
    this.#layers = Array.from({ length: config.numHiddenLayers }, () =>
      torch.empty(shape, { dtype, device }),
    );
  }

  get length(): number {
    return this.#length;
  }

  extend(layer: number, key: Tensor, value: Tensor): { key: Tensor; value: Tensor } {
    const count = key.shape[2]!;
    const { capacity } = this.options;
    if (this.#length + count > capacity) throw new RangeError(`the cache holds ${capacity} positions`);
    const [keys, values] = this.#layers[layer]!.unbind() as [Tensor, Tensor];
    keys.narrow(2, this.#length, count).copy_(key);
    values.narrow(2, this.#length, count).copy_(value);
    const all = this.#length + count;
    return { key: keys.narrow(2, 0, all), value: values.narrow(2, 0, all) };
  }

  advance(count: number): void {
    this.#length += count;
  }

  /**
   * What this cache of one row holds now, seen from `rows` rows: each pass continues it anew and leaves it as it is.
   * Every row may so have another continuation of the same beginning, padded at its end.
   */
  shared(rows: number): AttentionCache {
    const length = this.#length;
    const before = (layer: number, which: 0 | 1): Tensor => {
      const [, , groups, , headDim] = this.#layers[layer]!.shape as [number, number, number, number, number];
      const tensor = this.#layers[layer]!.select(0, which).narrow(2, 0, length);
      return tensor.expand([rows, groups, length, headDim]);
    };
    return {
      length,
      extend: (layer, key, value) => ({
        key: torch.cat([before(layer, 0), key], { dim: 2 }),
        value: torch.cat([before(layer, 1), value], { dim: 2 }),
      }),
      advance: () => {},
    };
  }

  /** Frees the memory. */
  dispose(): void {
    for (const layer of this.#layers) layer.dispose();
  }
}

/**
 * Which positions each position of a pass attends to, where the mask of equally many queries and keys does not do:
 * bool [T, P + T], true for j <= P + i.
 */
export function continuationMask(before: number, count: number, device: string): Tensor {
  const column = torch.arange(before, before + count, { dtype: 'int64', device }).unsqueeze(1);
  return column.ge(torch.arange(0, before + count, { dtype: 'int64', device }));
}

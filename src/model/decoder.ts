/** The model: embedding, decoder layers and head over one parameter store. Shape letters: block.ts. */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { apart } from './apart.js';
import type { TokenBatch } from './batch.js';
import type { ForwardContext, RouterStatistics } from './block.js';
import { continuationMask } from './cache.js';
import type { ModelConfig } from './config.js';
import { DecoderLayer } from './decoder-layer.js';
import { Embedding } from './embedding.js';
import { Head } from './head.js';
import { type RopeAngles, ropeAngles, ropeTables } from './rope.js';
import type { ParameterStore } from './store.js';

/**
 * What a caller may ask of a forward pass; see {@link ForwardContext}. `rope` and `mask` in place of those of rows
 * whose tokens follow one another: rope of [B, T, 1, D] tables, mask of anything that broadcasts to [B, A, T, P + T].
 */
export type ForwardOptions = Pick<
  ForwardContext,
  'cache' | 'forcedExperts' | 'noise' | 'collectRouterInputs'
> &
  Partial<Pick<ForwardContext, 'rope' | 'mask'>>;

export interface DecoderOutput {
  /** [N, H]: normalised hidden states. */
  hidden: Tensor;
  /** One per layer that routes, in order. */
  routing: RouterStatistics[];
  /** One per layer with experts, where asked for: [N, H]. */
  routerInputs: Tensor[];
}

export class Decoder {
  readonly embedding: Embedding;
  readonly layers: readonly DecoderLayer[];
  readonly head: Head;
  #angles: { first: number; tables: RopeAngles } | null = null;

  constructor(readonly store: ParameterStore) {
    const { config, blocks } = store;
    const [first, last] = [blocks[0]!, blocks.at(-1)!];
    this.embedding = new Embedding(first, config.padTokenId);
    this.layers = blocks.slice(1, -1).map((storage) => new DecoderLayer(storage, config));
    this.head = new Head(last, config.tieWordEmbeddings ? first : last, config);
  }

  get config(): ModelConfig {
    return this.store.config;
  }

  /** The context of a pass over `batch`; its tensors belong to the enclosing scope. */
  context(batch: TokenBatch, options: ForwardOptions = {}): ForwardContext {
    const { sequenceLength } = batch;
    const first = options.cache?.length ?? 0;
    if (this.#angles?.first !== first || this.#angles.tables.shape[0] !== sequenceLength) {
      this.#angles = { first, tables: ropeAngles(this.config, sequenceLength, first) };
    }
    const { dtype, device } = this.store;
    const rope = ropeTables(this.#angles.tables, { dtype, device });
    if (batch.positions) return { batch, ...apart(batch, batch.positions, rope), ...options };
    const mask = first > 0 && sequenceLength > 1 ? continuationMask(first, sequenceLength, device) : null;
    return { batch, rope, mask, ...options };
  }

  /**
   * Embedding, layers and final norm. Temporaries are freed layer by layer; autograd keeps what it needs. With a
   * cache, the batch continues what it holds and is added to it; then without a graph.
   */
  forward(batch: TokenBatch, options: ForwardOptions = {}): DecoderOutput {
    return torch.scope(() => {
      const context = this.context(batch, options);
      const routing: RouterStatistics[] = [];
      const routerInputs: Tensor[] = [];
      let h = this.embedding.forward(batch.inputIds);
      for (const layer of this.layers) {
        const output = torch.scope(() => layer.forward(h, context));
        h.dispose();
        h = output.h;
        if (output.routing) routing.push(output.routing);
        if (output.routerInput) routerInputs.push(output.routerInput);
      }
      options.cache?.advance(batch.sequenceLength);
      return { hidden: this.head.forward(h), routing, routerInputs };
    });
  }

  /** Logits [B, T, V] of a batch, without a graph. */
  logits(batch: TokenBatch, options: ForwardOptions = {}): Tensor {
    const shape = [batch.rows, batch.sequenceLength, this.config.vocabSize];
    return torch.scope(() =>
      torch.noGrad(() => this.forward(batch, options).hidden.mm(this.head.table.t()).view(shape)),
    );
  }
}

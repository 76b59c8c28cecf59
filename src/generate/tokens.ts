/** Tokens that a model puts after a prompt, one by one. Shape letters: src/model/block.ts. */
import { Random } from '../corpus/random.js';
import { toDevice } from '../model/batch.js';
import { KeyValueCache } from '../model/cache.js';
import type { Decoder } from '../model/decoder.js';
import * as torch from '../torch/index.js';
import { distribution, draw, mostLikely, type Sampling } from './sampling.js';

export interface TokenRequest {
  /** At least one token, and fewer than the model has positions. */
  prompt: readonly number[];
  maxTokens: number;
  /** Tokens after which nothing follows. */
  eos: readonly number[];
  /** null: always the most likely token. */
  sampling: Sampling | null;
  /** With the place in the text, it decides what is drawn. */
  seed: number;
}

/** Why no more tokens came. */
export type Ending = 'end' | 'maxTokens' | 'positions';

/**
 * Generates tokens after a prompt, the end token included, with a key-value cache that is freed when the generator
 * ends or is left.
 *
 * @returns why it ended: an end token, `maxTokens`, or no position left
 * @throws NumericError where the model's logits are not finite
 */
export function* generateTokens(model: Decoder, request: TokenRequest): Generator<number, Ending, undefined> {
  const { prompt, maxTokens, eos, sampling, seed } = request;
  const { config, store } = model;
  const room = config.maxPositionEmbeddings - prompt.length;
  const count = Math.min(maxTokens, room);
  const { dtype, device } = store;
  const cache = new KeyValueCache(config, { rows: 1, capacity: prompt.length + count, dtype, device });
  const random = new Random(seed, 'generate');
  try {
    let next = prompt;
    for (let i = 0; i < count; i++) {
      const logits = lastLogits(model, next, cache);
      const token = sampling === null ? mostLikely(logits) : draw(distribution(logits, sampling), random);
      yield token;
      if (eos.includes(token)) return 'end';
      next = [token];
    }
    return count < maxTokens ? 'positions' : 'maxTokens';
  } finally {
    cache.dispose();
  }
}

/** Logits [V] of what follows `tokens`, which follow what the cache holds. */
function lastLogits(model: Decoder, tokens: readonly number[], cache: KeyValueCache): ArrayLike<number> {
  const count = tokens.length;
  return torch.scope(() =>
    torch.noGrad(() => {
      const rows = {
        inputIds: Int32Array.from(tokens),
        labels: new Int32Array(count).fill(-100),
        valid: null,
        rows: 1,
        sequenceLength: count,
        tokens: count,
        targets: 0,
      };
      const { hidden } = model.forward(toDevice(rows, model.store.device), { cache });
      return hidden
        .narrow(0, count - 1, 1)
        .mm(model.head.table.t())
        .toArray() as ArrayLike<number>;
    }),
  );
}

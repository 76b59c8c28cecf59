import { describe, expect, test } from 'vitest';
import { toDevice } from '../../src/model/batch.js';
import type { AttentionCache } from '../../src/model/cache.js';
import { KeyValueCache } from '../../src/model/cache.js';
import { parseModelConfig } from '../../src/model/config.js';
import { Decoder } from '../../src/model/decoder.js';
import { fillInitialWeights } from '../../src/model/initial-weights.js';
import { openModel } from '../../src/model/open.js';
import { ParameterStore } from '../../src/model/store.js';
import * as torch from '../../src/torch/index.js';
import { families, goldenFolder } from '../generate/golden.js';
import { expectNoLeaks } from '../torch/leaks.js';
import { tokenRows } from './fixtures.js';

expectNoLeaks();

/** Logits [B, T, V] as an array, of rows that follow what the cache holds. */
function logits(model: Decoder, ids: readonly number[][], cache?: AttentionCache): Float32Array {
  const sequenceLength = ids[0]!.length;
  const inputIds = Int32Array.from(ids.flat());
  const rows = { ...tokenRows([sequenceLength], sequenceLength), inputIds, rows: ids.length, sequenceLength };
  const labels = new Int32Array(inputIds.length).fill(-100);
  return torch.scope(() => {
    const batch = toDevice({ ...rows, labels, valid: null, tokens: inputIds.length, targets: 0 }, 'cpu');
    return model.logits(batch, cache ? { cache } : {}).toArray() as Float32Array;
  });
}

function furthest(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}

const text = Array.from({ length: 20 }, (_, i) => (i * 37 + 11) % 97);

/** transformers does not know llama_moe: a model of our own initial weights. */
const llamaMoe = parseModelConfig(
  {
    model_type: 'llama_moe',
    vocab_size: 97,
    hidden_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 64,
    num_experts: 4,
    num_selects: 2,
    initializer_range: 0.3,
  },
  'config.json',
);

function storeOf(family: string): ParameterStore {
  if (family !== 'llama_moe') return openModel(goldenFolder(family));
  const store = new ParameterStore(llamaMoe);
  fillInitialWeights(store, { seed: 7 });
  return store;
}

describe.each([...families, 'llama_moe'])('%s', (family) => {
  const withCache = (rows: number, body: (model: Decoder, cache: KeyValueCache, width: number) => void) => {
    const store = storeOf(family);
    const { config, dtype, device } = store;
    const cache = new KeyValueCache(config, { rows, capacity: 20, dtype, device });
    body(new Decoder(store), cache, config.vocabSize);
    cache.dispose();
    store.dispose();
  };

  test('logits in pieces are those of the whole, within 1e-5', () => {
    withCache(2, (model, cache, width) => {
      const rows = [text, [...text].reverse()];
      const whole = logits(model, rows);
      let at = 0;
      for (const count of [7, 1, 5, 1, 6]) {
        const piece = logits(
          model,
          rows.map((row) => row.slice(at, at + count)),
          cache,
        );
        for (const row of [0, 1]) {
          const from = (row * 20 + at) * width;
          const own = piece.subarray(row * count * width, (row + 1) * count * width);
          expect(furthest(own, whole.subarray(from, from + count * width))).toBeLessThan(1e-5);
        }
        at += count;
        expect(cache.length).toBe(at);
      }
    });
  });

  test('one beginning for several rows, again and again, and going on behind it', () => {
    withCache(1, (model, cache, width) => {
      const begin = text.slice(0, 9);
      logits(model, [begin], cache);
      const ends = [
        [5, 6, 7],
        [8, 0, 0],
        [9, 10, 0],
      ];
      for (let round = 0; round < 2; round++) {
        const shared = logits(model, ends, cache.shared(3));
        for (const [row, end] of ends.entries()) {
          const whole = logits(model, [[...begin, ...end]]).subarray(9 * width);
          expect(furthest(shared.subarray(row * 3 * width, (row + 1) * 3 * width), whole)).toBeLessThan(1e-5);
        }
      }
      expect(cache.length).toBe(9);
      const next = logits(model, [[42]], cache);
      expect(furthest(next, logits(model, [[...begin, 42]]).subarray(9 * width))).toBeLessThan(1e-5);
    });
  });

  test('more positions than it holds are refused', () => {
    withCache(1, (model, cache) => {
      expect(() => logits(model, [[...text, 1]], cache)).toThrow(RangeError);
      expect(cache.length).toBe(0);
    });
  });
});

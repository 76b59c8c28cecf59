import { describe, expect, test } from 'vitest';
import { BigramModel } from '../../src/corpus/bigram.js';
import { EvaluationRows } from '../../src/corpus/evaluation-rows.js';
import { Random } from '../../src/corpus/random.js';
import { DataError } from '../../src/errors.js';
import { storeOf } from './stores.js';

const V = 12;

/** A Markov chain over 1 .. V - 1: from c to c + 1 or c + 2 or anywhere, 0.6, 0.3, 0.1. */
function chain(random: Random, length: number): number[] {
  let token = 1;
  return Array.from({ length }, () => {
    const u = random.uniform();
    const next = u < 0.6 ? token : u < 0.9 ? token + 1 : random.below(V - 1);
    token = 1 + (next % (V - 1));
    return token;
  });
}

async function model(documents: number[][], batch: 'packed' | 'padded' = 'packed', sequenceLength = 16) {
  return new BigramModel({
    store: await storeOf(documents),
    batch,
    sequenceLength,
    eos: 0,
    vocabularySize: V,
  });
}

describe('probabilities', () => {
  test('sum to one in every context, seen once, often or never', async () => {
    const counted = await model([
      [1, 2, 3, 1, 2, 0],
      [4, 4, 4, 4, 4, 4, 4, 2, 0],
      [5, 0],
    ]);
    for (let context = 0; context < V; context++) {
      let sum = 0;
      for (let next = 0; next < V; next++) {
        const p = counted.probability(context, next);
        expect(p).toBeGreaterThan(0);
        sum += p;
      }
      expect(sum).toBeCloseTo(1, 12);
    }
  });

  test('pairs are those that training sees', async () => {
    const documents = [
      [1, 2, 3, 4, 0],
      [5, 0],
    ];
    expect((await model(documents)).pairs).toBe(7);
    expect((await model(documents, 'padded', 3)).pairs).toBe(2 + 1);
    await expect(model([[1]], 'padded')).rejects.toThrow(DataError);
  });
});

describe('loss', () => {
  const documents = (seed: string, count: number, length = 50) => {
    const random = new Random(seed);
    return Array.from({ length: count }, () => [...chain(random, length), 0]);
  };

  test('is the mean of -log p over the targets of the rows', async () => {
    const counted = await model(documents('train', 20));
    const held = documents('held', 3);
    const rows = new EvaluationRows({
      store: await storeOf(held),
      batch: 'packed',
      sequenceLength: 16,
      eos: 0,
    });
    const stream = [0, ...held.flat()];
    const losses = held.flat().map((token, i) => -Math.log(counted.probability(stream[i]!, token)));
    const expected = losses.reduce((a, b) => a + b) / losses.length;
    expect(counted.evaluate(rows)).toEqual({ loss: expect.closeTo(expected, 12), targets: losses.length });
  });

  test('comes close to the entropy of a Markov chain, from above', async () => {
    const counted = await model(documents('train', 400, 100), 'padded', 200);
    const rows = new EvaluationRows({
      store: await storeOf(documents('held', 100, 100)),
      batch: 'padded',
      sequenceLength: 101,
      eos: 0,
    });
    const other = 0.1 / (V - 1);
    const entropy =
      -(0.6 + other) * Math.log(0.6 + other) -
      (0.3 + other) * Math.log(0.3 + other) -
      (V - 3) * other * Math.log(other);
    // Each document ends somewhere, at a rate of one in a hundred, which costs nats too.
    const end = -(0.99 * Math.log(0.99) + 0.01 * Math.log(0.01));
    const { loss } = counted.evaluate(rows);
    expect(loss).toBeGreaterThan(0.98 * (entropy + end));
    expect(loss).toBeLessThan(1.02 * (entropy + end));
  });

  test('trusts pairs that were seen once no more than they deserve', async () => {
    const random = new Random('noise');
    const noise = (length: number) => Array.from({ length }, () => 1 + random.below(V - 1));
    const counted = await model([noise(300)]);
    const rows = new EvaluationRows({
      store: await storeOf([noise(2000)]),
      batch: 'packed',
      sequenceLength: 32,
      eos: 0,
    });
    // Weights fitted on counts that hold the pair itself would believe in the pairs: 0.1 nat worse.
    expect(counted.evaluate(rows).loss).toBeLessThan(Math.log(V - 1) + 0.06);
  });
});

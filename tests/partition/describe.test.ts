import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Random } from '../../src/corpus/random.js';
import { jensenShannon, readClusterTokens } from '../../src/partition/cluster-tokens.js';
import { randomPartition, tokensPerCluster } from '../../src/partition/random-partition.js';
import { beginning, ClusterWords } from '../../src/partition/terms.js';
import { makeStore, noPause, temporaryFolder } from './support.js';

const folder = temporaryFolder();

test('a random partition has every cluster, and its tokens to within the longest document', () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 4, maxLength: 40 });
  fc.assert(
    fc.property(lengths, fc.integer({ min: 1, max: 4 }), fc.nat(), (tokens, clusters, seed) => {
      const labels = Int32Array.from(tokens, (_, i) => i % clusters);
      const dealt = randomPartition(labels, tokens, clusters, new Random(seed));
      expect(new Set(dealt)).toEqual(new Set(labels));
      const [wanted, got] = [labels, dealt].map((l) => tokensPerCluster(l, tokens, clusters));
      got!.forEach((sum, k) => {
        expect(Math.abs(sum - wanted![k]!)).toBeLessThanOrEqual(Math.max(...tokens));
      });
    }),
    { seed: 3 },
  );
});

test('with many documents the tokens agree almost exactly, and the documents are others', () => {
  const random = new Random('lengths');
  const tokens = Float64Array.from({ length: 400 }, () => 100 + random.below(5000));
  const labels = Int32Array.from({ length: 400 }, (_, i) => (i < 250 ? 0 : i < 360 ? 1 : 2));
  const dealt = randomPartition(labels, tokens, 3, new Random(0));
  const [wanted, got] = [labels, dealt].map((l) => tokensPerCluster(l, tokens, 3));
  got!.forEach((sum, k) => {
    expect(Math.abs(sum - wanted![k]!)).toBeLessThan(30);
  });
  // By chance (250^2 + 110^2 + 40^2) / 400 = 190 documents keep their cluster.
  const same = dealt.reduce((sum, label, i) => sum + (label === labels[i] ? 1 : 0), 0);
  expect(same).toBeGreaterThan(150);
  expect(same).toBeLessThan(240);
  expect(randomPartition(labels, tokens, 3, new Random(0))).toEqual(dealt);
  expect(randomPartition(labels, tokens, 3, new Random(1))).not.toEqual(dealt);
});

test('hashes and counts of clusters', async () => {
  const documents = [[1, 2, 3], [4], [5, 5, 5, 5]];
  const store = await makeStore(`${folder()}/x`, documents, 6);
  const options = { clusters: 2, vocabularySize: 6, pause: noPause };
  const labels = Int32Array.of(1, 0, 1);
  const read = (limit: number) =>
    readClusterTokens(store, labels, Int32Array.of(0, 1, 1), { ...options, limit });
  const found = await read(3);
  const words = Int32Array.of(3, 1, 2, 3, 4, 5, 5, 5, 5);
  expect(found.hashes[1]).toBe(createHash('sha256').update(new Uint8Array(words.buffer)).digest('hex'));
  expect(found.counts.map((list) => [...list])).toEqual([
    [0, 0, 0, 0, 1, 0],
    [0, 1, 1, 1, 0, 3],
  ]);
  expect([...found.otherCounts[0]!]).toEqual([0, 1, 1, 1, 0, 0]);
  expect((await read(1)).hashes).toEqual(found.hashes);
  store.close();
});

test('Jensen-Shannon divergence: 0 for equal, the entropy of the shares for disjoint distributions', () => {
  expect(jensenShannon([Float64Array.of(1, 2, 3), Float64Array.of(2, 4, 6)]).nats).toBeCloseTo(0, 12);
  const disjoint = jensenShannon([Float64Array.of(4, 0, 2), Float64Array.of(0, 2, 0)]);
  const entropy = -(0.75 * Math.log(0.75) + 0.25 * Math.log(0.25));
  expect(disjoint.nats).toBeCloseTo(entropy, 12);
  expect(disjoint.maximum).toBeCloseTo(entropy, 12);
  // By hand: p = (1/2, 1/2), q = (1, 0), equal weights.
  const half = jensenShannon([Float64Array.of(1, 1), Float64Array.of(2, 0)]);
  expect(half.nats).toBeCloseTo(-0.75 * Math.log(0.75) - 0.25 * Math.log(0.25) - 0.5 * Math.log(2), 12);
  expect(jensenShannon([new Float64Array(2), new Float64Array(2)])).toEqual({ nats: 0, maximum: 0 });
});

test('characteristic words are those of the subject, not those of every text', () => {
  const words = new ClusterWords(2);
  for (let i = 0; i < 30; i++) {
    words.add(0, `The song of the <unk> album ${i} , sung by her of the 19th . Übung`);
    words.add(1, 'The river and the road by the <unk> lake , a river .');
  }
  const [music, places] = words.characteristic(3);
  expect(music).toEqual(['of', 'album', 'her']);
  expect(places![0]).toBe('river');
  expect(words.characteristic(99).flat()).not.toContain('the');
  expect(words.characteristic(99).flat()).not.toContain('unk');
  expect(words.characteristic(99).flat()).not.toContain('th');
  expect(words.characteristic(99)[0]).toContain('übung');
});

test('the beginning of a text is one line and not cut within a character', () => {
  expect(beginning(' = A =\n\n b ', 20)).toBe('= A = b');
  expect(beginning('😀'.repeat(9), 4)).toBe('😀😀😀…');
});

/** Scores of shared beginnings, branches and cut contexts, against one plain pass for each request. */
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/corpus/random.js';
import { rollingWindows } from '../../src/evaluate/harness/tokenizer.js';
import { makeSections, type ScoreRequest } from '../../src/evaluate/score/bundles.js';
import { scoreRequests } from '../../src/evaluate/score/scorer.js';
import type { Score } from '../../src/evaluate/score/tokens.js';
import type { Decoder } from '../../src/model/decoder.js';
import { Decoder as Model } from '../../src/model/decoder.js';
import { fillInitialWeights } from '../../src/model/initial-weights.js';
import { ParameterStore } from '../../src/model/store.js';
import * as torch from '../../src/torch/index.js';
import { tinyConfig } from '../model/fixtures.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();
const VOCABULARY = 60;
const random = new Random('score');
const ids = (count: number) => Array.from({ length: count }, () => random.below(VOCABULARY));

/** The score of one request by a pass over its tokens alone. */
function plainScore(model: Decoder, { context, continuation }: ScoreRequest, maxLength: number): Score {
  const all = [...context, ...continuation].slice(-(maxLength + 1));
  const input = all.slice(0, -1);
  return torch.scope(() => {
    const inputIds = torch.tensor(Int32Array.from(input), [input.length], { dtype: 'int64' });
    const batch = { inputIds, labels: inputIds, valid: null, rows: 1, tokens: input.length, targets: 0 };
    const logits = model.logits({ ...batch, sequenceLength: input.length });
    const table = logits.view([input.length, VOCABULARY]).logSoftmax(-1).toNumbers();
    const score = { logLikelihood: 0, greedy: true };
    continuation.forEach((token, i) => {
      const at = (input.length - continuation.length + i) * VOCABULARY;
      const row = table.slice(at, at + VOCABULARY);
      score.logLikelihood += row[token]!;
      if (row.indexOf(Math.max(...row)) !== token) score.greedy = false;
    });
    return score;
  });
}

async function expectPlain(groups: ScoreRequest[][], maxLength: number): Promise<void> {
  const store = new ParameterStore(tinyConfig());
  fillInitialWeights(store, { seed: 3 });
  const model = new Model(store);
  const progress: number[] = [];
  const scores = await scoreRequests(model, groups, {
    maxLength,
    onProgress: (done) => void progress.push(done),
  });
  const requests = groups.flat();
  expect(progress.at(-1)).toBe(requests.length);
  for (const [i, request] of requests.entries()) {
    const plain = plainScore(model, request, maxLength);
    expect(scores[i]!.logLikelihood / plain.logLikelihood, `request ${i}`).toBeCloseTo(1, 4);
    expect(scores[i]!.greedy, `request ${i}`).toBe(plain.greedy);
  }
  store.dispose();
}

describe('scores', () => {
  it('of choices of different lengths, some the same, one a beginning of another', async () => {
    const groups = [3, 9, 1].map((length) => {
      const context = ids(length);
      const long = ids(5);
      return [long, long.slice(0, 2), ids(1), ids(1), long, ids(7)].map((continuation) => ({
        context,
        continuation,
      }));
    });
    await expectPlain(groups, 64);
  });

  it('of questions behind the same examples, answered by one token', async () => {
    const block = ids(50);
    const letters = [[5], [6], [7], [8]];
    const groups = [4, 12, 7, 30].map((length) => {
      const context = [...block, ...ids(length)];
      return letters.map((continuation) => ({ context, continuation }));
    });
    const sections = makeSections(groups, 200);
    expect(sections).toHaveLength(1);
    expect(sections[0]!.beginning.length).toBeGreaterThanOrEqual(50);
    expect(sections[0]!.bundles.map(({ tokens }) => tokens.length).reduce((a, b) => a + b)).toBeLessThan(60);
    await expectPlain(groups, 200);
  });

  it('of contexts that are cut on the left, by choices of different lengths', async () => {
    const context = ids(40);
    const groups = [[1, 3, 6, 20].map((length) => ({ context, continuation: ids(length) }))];
    await expectPlain(groups, 20);
  });

  it('take the most probable token for greedy', async () => {
    const store = new ParameterStore(tinyConfig());
    fillInitialWeights(store, { seed: 3 });
    const model = new Model(store);
    const context = ids(6);
    const all = Array.from({ length: VOCABULARY }, (_, token) => ({ context, continuation: [token] }));
    const scores = await scoreRequests(model, [all], { maxLength: 32 });
    const best = Math.max(...scores.map((score) => score.logLikelihood));
    expect(scores.filter(({ greedy }) => greedy)).toEqual([{ logLikelihood: best, greedy: true }]);
    expect(scores.reduce((sum, { logLikelihood }) => sum + Math.exp(logLikelihood), 0)).toBeCloseTo(1, 4);
    store.dispose();
  });
});

describe('rolling windows', () => {
  it('predict every token once, full of known tokens but for the first', () => {
    const tokens = Array.from({ length: 11 }, (_, i) => i);
    expect(rollingWindows(tokens, 99, 4)).toEqual([
      { context: [99], continuation: [0, 1, 2, 3] },
      { context: [3], continuation: [4, 5, 6, 7] },
      { context: [6, 7], continuation: [8, 9, 10] },
    ]);
    expect(rollingWindows([7], 99, 4)).toEqual([{ context: [99], continuation: [7] }]);
    expect(rollingWindows([], 99, 4)).toEqual([]);
  });
});

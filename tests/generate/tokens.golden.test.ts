/** Greedy text token for token as transformers generates it, and the cache against passes without one. */
import { describe, expect, test } from 'vitest';
import { generateTokens, type TokenRequest } from '../../src/generate/tokens.js';
import { Decoder } from '../../src/model/decoder.js';
import { openModel } from '../../src/model/open.js';
import { withModel } from '../model/fixtures.js';
import { expectNoLeaks } from '../torch/leaks.js';
import { families, type GoldenText, goldenFolder, goldenJson } from './golden.js';

expectNoLeaks();

const greedy = { sampling: null, seed: 0, eos: [] };

function all(model: Decoder, request: TokenRequest): { tokens: number[]; ending: string } {
  const tokens: number[] = [];
  const generator = generateTokens(model, request);
  for (;;) {
    const { done, value } = generator.next();
    if (done) return { tokens, ending: value };
    tokens.push(value);
  }
}

test.each(families)('%s: greedy tokens of transformers, its end token included', (family) => {
  const { cases } = goldenJson<{ cases: GoldenText[] }>(`${family}/expected.json`);
  const store = openModel(goldenFolder(family));
  const model = new Decoder(store);
  for (const { prompt, eos, tokens } of cases) {
    const request = { ...greedy, prompt, maxTokens: 24, eos: eos === null ? [] : [eos] };
    const ended = eos === null ? 'maxTokens' : 'end';
    expect(all(model, request)).toEqual({ tokens, ending: ended });
  }
  expect(cases).toHaveLength(4);
  expect(cases.at(-1)!.tokens.length).toBeLessThan(11);
  store.dispose();
});

describe('generation', () => {
  test('ends where the model has no position left', () => {
    withModel({ max_position_embeddings: 12 }, {}, (model) => {
      const { tokens, ending } = all(model, { ...greedy, prompt: [1, 2, 3, 4, 5], maxTokens: 50 });
      expect(tokens).toHaveLength(7);
      expect(ending).toBe('positions');
      expect(all(model, { ...greedy, prompt: [1, 2, 3, 4, 5], maxTokens: 7 }).ending).toBe('maxTokens');
    });
  });

  test('draws the same for the same seed, other things for another, whatever stands around it', () => {
    withModel({}, {}, (model) => {
      const draw = (seed: number, maxTokens = 30) => {
        const sampling = { temperature: 1.5, topK: null, topP: 0.95 };
        return all(model, { prompt: [3], maxTokens, eos: [], sampling, seed }).tokens;
      };
      expect(draw(1)).toEqual(draw(1));
      expect(draw(1, 10)).toEqual(draw(1).slice(0, 10));
      expect(draw(1)).not.toEqual(draw(2));
    });
  });

  test('may be left in the middle', () => {
    withModel({}, {}, (model) => {
      for (const _ of generateTokens(model, { ...greedy, prompt: [3], maxTokens: 30 })) break;
    });
  });

  test('runs in bfloat16', () => {
    withModel({}, { dtype: 'bfloat16' }, (model) => {
      expect(all(model, { ...greedy, prompt: [3, 4], maxTokens: 5 }).tokens).toHaveLength(5);
    });
  });
});

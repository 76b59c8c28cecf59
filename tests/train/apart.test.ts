/** Documents kept apart in packed rows: the same as each of them alone. */
import { describe, expect, it } from 'vitest';
import { documentPositions } from '../../src/corpus/batches.js';
import { targetLosses } from '../../src/evaluate/loss.js';
import { type TokenRows, toDevice } from '../../src/model/batch.js';
import type { Decoder } from '../../src/model/decoder.js';
import * as torch from '../../src/torch/index.js';
import { type LossResult, lossAndGradients } from '../../src/train/backward.js';
import { random, withModel } from '../model/fixtures.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();

const EOS = 0;
const T = 24;
/** Tokens of the pieces of each row: the end of a document, whole ones, of one token too, and a beginning. */
const PIECES = [[5, 9, 1, 9], [1, 1, 22], [24]];

const next = random(11);
/** Token ids of every piece; each but the first of a row begins with an end token. */
const pieces = PIECES.map((row) =>
  row.map((length, i) =>
    Array.from({ length }, (_, t) => (t === 0 && i > 0 ? EOS : 1 + Math.floor(next() * 59))),
  ),
);

/** Every token predicts the one behind it, an end token too; what follows a row is token 7. */
function rowsOf(lines: number[][], labels: number[][], sequenceLength: number): TokenRows {
  const size = lines.length * sequenceLength;
  const rows: TokenRows = {
    inputIds: new Int32Array(size),
    labels: new Int32Array(size).fill(-100),
    valid: new Uint8Array(size),
    rows: lines.length,
    sequenceLength,
    tokens: lines.flat().length,
    targets: labels.flat().length,
  };
  lines.forEach((line, r) => {
    rows.inputIds.set(line, r * sequenceLength);
    rows.labels.set(labels[r]!, r * sequenceLength);
    rows.valid!.fill(1, r * sequenceLength, r * sequenceLength + line.length);
  });
  return rows;
}

const packedLines = pieces.map((row) => row.flat());
const packedLabels = packedLines.map((line) => [...line.slice(1), 7]);
const joined: TokenRows = { ...rowsOf(packedLines, packedLabels, T), valid: null };
const apart: TokenRows = { ...joined, positions: documentPositions(joined.inputIds, T, EOS) };
const alone = rowsOf(
  pieces.flat(),
  pieces.flatMap((row, r) => {
    const ends = row.map((_, i) => row.slice(0, i + 1).flat().length);
    return row.map((piece, i) => packedLabels[r]!.slice(ends[i]! - piece.length, ends[i]));
  }),
  T,
);
/** Where the tokens of `alone` stand among its padded rows, in the order of the packed ones. */
const places = [...alone.valid!.keys()].filter((at) => alone.valid![at] === 1);

function logits(model: Decoder, rows: TokenRows): number[][] {
  return torch.scope(() => {
    const all = model.logits(toDevice(rows, 'cpu')).view([rows.rows * rows.sequenceLength, -1]);
    return all.unbind().map((row) => row.toNumbers());
  });
}

function difference(a: readonly number[], b: readonly number[]): number {
  return Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));
}

const variants = {
  'top-2 of 4, grouped heads': {},
  'one expert': { num_experts: 1, num_experts_per_tok: 1 },
  'tied, equal heads': { tie_word_embeddings: true, num_key_value_heads: 4 },
};

describe.each(Object.entries(variants))('%s', (_, changes) => {
  it('logits and losses are those of each document alone', () => {
    withModel(changes, {}, (model) => {
      const found = logits(model, apart);
      const expected = logits(model, alone);
      expect(found).toHaveLength(places.length);
      expect(Math.max(...places.map((at, i) => difference(found[i]!, expected[at]!)))).toBeLessThan(1e-5);
      const losses = targetLosses(model, alone);
      const each = targetLosses(model, apart);
      expect(
        difference(
          [...each],
          places.map((at) => losses[at]!),
        ),
      ).toBeLessThan(1e-5);
      // Which is something that joined documents do not have.
      const together = logits(model, joined);
      expect(Math.max(...places.map((at, i) => difference(together[i]!, expected[at]!)))).toBeGreaterThan(
        0.01,
      );
    });
  });

  it.each(['graph', 'blocks'] as const)('gradients too (%s)', (mode) => {
    withModel(changes, { training: true }, (model) => {
      const run = (rows: TokenRows): { result: LossResult; gradients: number[][] } => {
        model.store.zeroGrad();
        return torch.scope(() => {
          const request = { globalTargets: rows.targets, mode };
          const result = lossAndGradients(model, toDevice(rows, 'cpu'), request);
          const trained = model.store.parameters.filter((parameter) => parameter.trained);
          return {
            result,
            gradients: trained.map(({ name }) => model.store.gradient(name)!.toNumbers()),
          };
        });
      };
      const expected = run(alone);
      const found = run(apart);
      expect(found.result.expertTokens).toEqual(expected.result.expertTokens);
      expect(Math.abs(found.result.loss - expected.result.loss)).toBeLessThan(1e-5);
      found.gradients.forEach((gradient, i) => {
        const norm = Math.hypot(...expected.gradients[i]!);
        const error = Math.hypot(...gradient.map((value, j) => value - expected.gradients[i]![j]!));
        expect(error).toBeLessThan(1e-4 * norm);
      });
    });
  });
});

it('positions restart at every row and every end token', () => {
  const ids = Int32Array.from([5, 6, EOS, 7, EOS, EOS, 8, 9]);
  expect([...documentPositions(ids, 4, EOS)]).toEqual([0, 1, 0, 1, 0, 0, 1, 2]);
});

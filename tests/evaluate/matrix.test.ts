/** Every stage on every cluster: sums by hand, the ensemble, the experts' affinity. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { normalisedInformation } from '../../src/evaluate/stages/affinity.js';
import { type HeldOutDocuments, readDocuments, windowRows } from '../../src/evaluate/stages/documents.js';
import { clusterWeights, ensembleLosses } from '../../src/evaluate/stages/ensemble.js';
import { type StageMatrix, stageMatrix } from '../../src/evaluate/stages/matrix.js';
import { matrixSections } from '../../src/evaluate/stages/table.js';
import { mergeSubmodels } from '../../src/merge/stage.js';
import { toText } from '../../src/report/layout.js';
import { fineTune, trainBaseline, trainSubmodel } from '../../src/train/stage.js';
import { type SmallRun, smallRun } from '../runs.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();

let root: string;
let small: SmallRun;
let matrix: StageMatrix;
const request = { split: 'validation', temperature: 0.1, window: 8, stride: 3 } as const;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'matrix-'));
  small = await smallRun(join(root, 'run'), ['train.finetune.steps=2', 'train.baseline.steps=2']);
  for (let k = 0; k < 3; k++) await trainSubmodel(small.context, k);
  await mergeSubmodels(small.context);
  await fineTune(small.context);
  await trainBaseline(small.context);
  matrix = await stageMatrix(small.context, request);
});
afterAll(() => rmSync(root, { recursive: true }));

describe('windows', () => {
  it('make every token of every document a target once, behind as many known ones as fit', async () => {
    const held = await readDocuments(small.context, 'validation', { window: 8, stride: 3 });
    const total = held.targets.reduce((sum, count) => sum + count, 0);
    const rows = windowRows(held, held.places);
    const seen = [...rows.at].filter((at) => at >= 0).sort((a, b) => a - b);
    expect(seen).toEqual(Array.from({ length: total }, (_, i) => i));
    expect(rows.targets).toBe(total);
    held.places.forEach(({ document, first, last }, r) => {
      const begin = Math.max(0, last - 8);
      const own = rows.inputIds.subarray(r * rows.sequenceLength, r * rows.sequenceLength + last - begin);
      expect(own).toEqual(held.ids(document).subarray(begin, last));
      expect(last - first).toBeLessThanOrEqual(first === 0 ? 8 : 3);
    });
  });
});

describe('the matrix', () => {
  it('has all models, and clusters that make up the whole', () => {
    expect(matrix.rows.map(({ model }) => model)).toEqual([
      'submodels/0',
      'submodels/1',
      'submodels/2',
      'ensemble',
      'merged',
      'finetuned',
      'baseline',
    ]);
    expect(matrix.documents.reduce((sum, count) => sum + count, 0)).toBe(12);
    for (const { all, clusters } of matrix.rows) {
      const parts = clusters.filter((part) => part !== null);
      const sum = parts.reduce((total, { loss, targets }) => total + loss * targets, 0);
      expect(sum / all.targets).toBeCloseTo(all.loss, 6);
      expect(all.perplexity).toBeCloseTo(Math.exp(all.loss), 6);
      expect(all.bitsPerByte * all.bytes * Math.LN2).toBeCloseTo(all.loss * all.targets, 4);
    }
  });

  it('mixes the submodels as well as the best and worse than none by much', () => {
    const [first, second, third, ensemble] = matrix.rows.map(({ all }) => all.loss);
    expect(ensemble!).toBeLessThanOrEqual(Math.max(first!, second!, third!));
  });

  it('shows where experts go before and after fine-tuning', () => {
    expect(matrix.affinity.map(({ model }) => model)).toEqual(['merged', 'finetuned', 'baseline']);
    for (const { load, entropy, information, shares } of matrix.affinity.flatMap(({ layers }) => layers)) {
      expect(load.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 9);
      expect(entropy).toBeGreaterThanOrEqual(0);
      expect(entropy).toBeLessThanOrEqual(1 + 1e-12);
      expect(information).toBeGreaterThanOrEqual(0);
      for (const row of shares) if (row) expect(row.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 6);
    }
    const text = toText(matrixSections(matrix), false);
    expect(text).toContain('ensemble of submodels');
    expect(text).toContain('bits per byte');
  });

  it('stops when it is asked to', async () => {
    small.stop.requested = true;
    await expect(stageMatrix(small.context, request)).rejects.toMatchObject({ exitStatus: 75 });
    small.stop.requested = false;
  });
});

describe('the ensemble', () => {
  const held = {
    count: 2,
    targets: Int32Array.of(1, 2),
    starts: Float64Array.of(0, 1),
  } as unknown as HeldOutDocuments;

  it('weighs by the distance to the centroids', () => {
    const weights = clusterWeights(Float32Array.of(0, 1, 2, 2), 2, 0.5);
    expect(weights[0]).toBeCloseTo(1 / (1 + Math.exp(-2)), 12);
    expect([...weights.subarray(2)]).toEqual([0.5, 0.5]);
  });

  it('mixes probabilities, not their logarithms', () => {
    const losses = [Float32Array.of(1, 2, 200), Float32Array.of(3, 2, 300)];
    const mixed = ensembleLosses(held, losses, Float64Array.of(0.25, 0.75, 0.5, 0.5));
    expect(mixed[0]).toBeCloseTo(-Math.log(0.25 * Math.exp(-1) + 0.75 * Math.exp(-3)), 12);
    expect(mixed[1]).toBeCloseTo(2, 12);
    expect(mixed[2]).toBeCloseTo(200 + Math.LN2, 6);
  });
});

describe('normalised mutual information', () => {
  it('is 1 where the cluster names the expert, 0 where it says nothing', () => {
    expect(
      normalisedInformation([
        [5, 0, 0],
        [0, 3, 0],
        [0, 0, 9],
      ]),
    ).toBeCloseTo(1, 12);
    expect(
      normalisedInformation([
        [1, 2],
        [2, 4],
      ]),
    ).toBeCloseTo(0, 12);
    expect(normalisedInformation([[0, 0]])).toBe(0);
    // I = 0.5 ln 2 nats more than nothing: H(row) = H(column) = ln 2, joint entropy by hand.
    const joint = -(0.75 * Math.log(0.375) + 0.25 * Math.log(0.125));
    expect(
      normalisedInformation([
        [3, 1],
        [1, 3],
      ]),
    ).toBeCloseTo((2 * Math.LN2 - joint) / Math.LN2, 12);
  });
});

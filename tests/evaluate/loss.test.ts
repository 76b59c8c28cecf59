import { describe, expect, it } from 'vitest';
import { meanLoss, targetLosses } from '../../src/evaluate/loss.js';
import { toDevice } from '../../src/model/batch.js';
import { Decoder } from '../../src/model/decoder.js';
import { fillInitialWeights } from '../../src/model/initial-weights.js';
import { ParameterStore } from '../../src/model/store.js';
import * as torch from '../../src/torch/index.js';
import { lossAndGradients } from '../../src/train/backward.js';
import { sliceRows, tinyConfig, tokenRows, withModel } from '../model/fixtures.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();
const rows = tokenRows([7, 3, 7, 6, 2], 7);
/** Rows 0 and 1 are document 4, the others a document each. */
const held = {
  rows: 5,
  sequenceLength: rows.sequenceLength,
  batch: (first: number, count: number) => {
    const part = sliceRows(rows, first, Math.min(count, 5 - first));
    const documents = part.labels.map((label, i) =>
      label < 0 ? -1 : Math.max(4, 3 + first + Math.floor(i / 7)),
    );
    return { ...part, documents };
  },
};

describe('held-out loss', () => {
  it('is the loss that training minimises', () => {
    withModel({ output_router_logits: false }, { training: true }, (model) => {
      const { loss } = torch.scope(() =>
        lossAndGradients(model, toDevice(rows, 'cpu'), { globalTargets: rows.targets, mode: 'graph' }),
      );
      const losses = targetLosses(model, rows);
      expect(losses.reduce((sum, value) => sum + value, 0) / rows.targets).toBeCloseTo(loss, 5);
      losses.forEach((value, i) => {
        expect(value > 0).toBe(rows.labels[i]! >= 0);
      });
    });
  });

  it('is summed by document, whatever the size of a batch', async () => {
    const store = new ParameterStore(tinyConfig());
    fillInitialWeights(store, { seed: 7 });
    const model = new Decoder(store);
    let batches = 0;
    const count = () => {
      batches++;
    };
    const one = await meanLoss(model, held, { batchRows: 1, onBatch: count });
    const all = await meanLoss(model, held);
    expect(batches).toBe(5);
    expect(one.targets).toBe(rows.targets);
    expect(one.loss).toBeCloseTo(all.loss, 5);
    expect(one.documents.map(({ document, targets }) => [document, targets])).toEqual([
      [4, 8],
      [5, 6],
      [6, 5],
      [7, 1],
    ]);
    expect(one.documents.reduce((sum, entry) => sum + entry.sum, 0) / 20).toBeCloseTo(one.loss, 10);
    store.dispose();
  });

  it('stops where its caller throws', async () => {
    const store = new ParameterStore(tinyConfig());
    const stop = () => {
      throw new Error('stopped');
    };
    await expect(meanLoss(new Decoder(store), held, { onBatch: stop })).rejects.toThrow('stopped');
    store.dispose();
  });
});

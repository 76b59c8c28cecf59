/** Held-out loss: forward only, every target once, losses summed by document. */
import { setImmediate } from 'node:timers/promises';
import { type TokenRows, toDevice } from '../model/batch.js';
import type { Decoder, ForwardOptions } from '../model/decoder.js';
import { crossEntropy } from '../model/loss.js';
import * as torch from '../torch/index.js';

/**
 * Tokens computed at once: enough to keep wide products busy, few enough for any device that trained the model.
 * Not the micro-batch: how a training is executed must not change the last bits of what is measured.
 */
const BATCH_TOKENS = 4096;

/** Rows whose targets know their document, as src/corpus makes them. */
export interface HeldOutRows {
  /** Number of rows. */
  rows: number;
  /** Positions of a row. */
  sequenceLength: number;
  /** Rows first .. first + count - 1, or as many of them as there are. */
  batch(first: number, count: number): TokenRows & { /** [N] */ documents: Int32Array };
}

/** Losses in nats, added in float64 in the order of the rows. */
export interface HeldOutLoss {
  /** Mean over all targets. */
  loss: number;
  targets: number;
  /** Per document that has targets: its number, the sum of its losses and how many they are. */
  documents: { document: number; sum: number; targets: number }[];
}

/**
 * Loss of every target of a batch, without a graph.
 *
 * @returns [N], 0 where there is no target
 */
export function targetLosses(model: Decoder, rows: TokenRows, options: ForwardOptions = {}): Float32Array {
  return torch.scope(() =>
    torch.noGrad(() => {
      const batch = toDevice(rows, model.store.device);
      const { hidden } = model.forward(batch, options);
      const losses = crossEntropy({ hidden, table: model.head.table, labels: batch.labels });
      return Float32Array.from(losses.toNumbers());
    }),
  );
}

/**
 * Mean loss over held-out rows. Between batches the event loop goes on, so that signals are seen.
 *
 * @param options `batchRows`: rows at once, otherwise as many as make 4,096 tokens; `onBatch` is awaited before each batch and may throw to stop
 */
export async function meanLoss(
  model: Decoder,
  held: HeldOutRows,
  options: { batchRows?: number; onBatch?: () => void | Promise<void> } = {},
): Promise<HeldOutLoss> {
  const { batchRows = Math.max(1, Math.floor(BATCH_TOKENS / held.sequenceLength)), onBatch } = options;
  const byDocument = new Map<number, { document: number; sum: number; targets: number }>();
  for (let first = 0; first < held.rows; first += batchRows) {
    await onBatch?.();
    const rows = held.batch(first, batchRows);
    const losses = targetLosses(model, rows);
    rows.labels.forEach((label, position) => {
      if (label < 0) return;
      const document = rows.documents[position]!;
      const entry = byDocument.get(document) ?? { document, sum: 0, targets: 0 };
      entry.sum += losses[position]!;
      entry.targets++;
      byDocument.set(document, entry);
    });
    await setImmediate();
  }
  const documents = [...byDocument.values()];
  const targets = documents.reduce((count, entry) => count + entry.targets, 0);
  const sum = documents.reduce((total, entry) => total + entry.sum, 0);
  return { loss: sum / targets, targets, documents };
}

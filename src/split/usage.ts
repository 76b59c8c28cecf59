/**
 * How often each expert of a model is used on a sample of text. Layer by layer over all rows: one layer's weights
 * and the hidden states of the sample are in memory, never the whole model.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { DataError } from '../errors.js';
import { type TokenRows, toDevice } from '../model/batch.js';
import { isSparseLayer, type ModelConfig } from '../model/config.js';
import { Decoder } from '../model/decoder.js';
import { ParameterStore } from '../model/store.js';
import { dtypeOfSafetensors } from '../model/store-files.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { ParameterIndex } from './origins.js';
import type { InitSource } from './source.js';

/** Experts of one layer. */
export interface LayerUsage {
  layer: number;
  /** Tokens of the sample that each expert was chosen for. */
  counts: number[];
}

/**
 * Counts the tokens that each layer's router sends to each expert.
 *
 * @param rows the sample, in pieces that are computed at once
 * @param onLayer called before each layer; may throw to stop
 */
export async function countUsage(
  source: Pick<InitSource, 'config' | 'weights' | 'folder'>,
  rows: readonly TokenRows[],
  device: string,
  onLayer: (layer: number) => void,
): Promise<LayerUsage[]> {
  const index = new ParameterIndex(source.config);
  const usage: LayerUsage[] = [];
  const hidden: Tensor[] = [];
  try {
    for (const piece of rows) hidden.push(embed(source, index, piece, device));
    for (let layer = 0; layer < source.config.numHiddenLayers; layer++) {
      onLayer(layer);
      await turn();
      const counts = throughLayer(source, index, layer, rows, hidden, device);
      if (counts !== null) usage.push({ layer, counts });
    }
    return usage;
  } finally {
    for (const h of hidden) h.dispose();
  }
}

/** The `count` experts of each layer that were used most, in the order of their numbers; of equals the first. */
export function mostUsed(usage: readonly LayerUsage[], count: number): Map<number, number[]> {
  return new Map(
    usage.map(({ layer, counts }) => {
      const byUse = counts.map((_, expert) => expert).sort((a, b) => counts[b]! - counts[a]! || a - b);
      return [layer, byUse.slice(0, count).sort((a, b) => a - b)];
    }),
  );
}

/** Rows of the token table, [N, H] in float32. */
function embed(
  { config, weights, folder }: Pick<InitSource, 'config' | 'weights' | 'folder'>,
  index: ParameterIndex,
  { inputIds }: TokenRows,
  device: string,
): Tensor {
  const { name } = index.find('model.embed_tokens.weight', null)!;
  const { dtype, bytes } = weights.info(name);
  const rowBytes = bytes / config.vocabSize;
  const table = new Uint8Array(inputIds.length * rowBytes);
  inputIds.forEach((id, i) => {
    if (id >= config.vocabSize) {
      throw new DataError('The corpus has ids beyond the vocabulary of the model.', {
        file: folder,
        key: 'vocab_size',
        expected: `at least ${id + 1}`,
        found: String(config.vocabSize),
      });
    }
    weights.read(name, table.subarray(i * rowBytes), id * rowBytes, rowBytes);
  });
  return torch.scope(() =>
    torch
      .fromBytes(table, [inputIds.length, config.hiddenSize], dtypeOfSafetensors(dtype))
      .to({ dtype: 'float32', device }),
  );
}

/** Replaces every piece's hidden states by what `layer` makes of them; returns the counts of its experts. */
function throughLayer(
  { config, weights }: Pick<InitSource, 'config' | 'weights'>,
  index: ParameterIndex,
  layer: number,
  rows: readonly TokenRows[],
  hidden: Tensor[],
  device: string,
): number[] | null {
  // A model of this layer alone: its tables are not used and have one row.
  const alone: ModelConfig = {
    ...config,
    numHiddenLayers: 1,
    vocabSize: 1,
    padTokenId: null,
    tieWordEmbeddings: true,
    decoderSparseStep: 1,
    mlpOnlyLayers: isSparseLayer(config, layer) ? [] : [0],
  };
  const store = new ParameterStore(alone, { device });
  try {
    for (const parameter of store.parameters) {
      if (parameter.layer === null) continue;
      const part = parameter.part.replace('model.layers.0.', `model.layers.${layer}.`);
      const { name } = index.find(part, parameter.expert)!;
      const { dtype, shape } = weights.info(name);
      torch.scope(() =>
        torch.noGrad(() => {
          const values = torch.fromBytes(weights.read(name), [...shape], dtypeOfSafetensors(dtype));
          store.parameter(parameter.name).copy_(values);
        }),
      );
    }
    const decoder = new Decoder(store);
    const counts = new Array<number>(config.numExperts).fill(0);
    rows.forEach((piece, i) => {
      hidden[i] = torch.scope(() =>
        torch.noGrad(() => {
          const context = decoder.context(toDevice(piece, device));
          const { h, routing } = decoder.layers[0]!.forward(hidden[i]!, context);
          routing?.counts.toNumbers().forEach((count, expert) => {
            counts[expert]! += count;
          });
          hidden[i]!.dispose();
          return h;
        }),
      );
    });
    return isSparseLayer(config, layer) ? counts : null;
  } finally {
    store.dispose();
  }
}

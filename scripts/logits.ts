/**
 * Our side of `npm run parity`: logits of Hugging Face folders on seeded token rows, in float32.
 *
 *   tsx scripts/logits.ts MODELS.json LOGITS.safetensors
 *
 * MODELS.json lists { folder, written? }; a model with `written` is written there by `convert`. The file written holds `N.inputIds` int32 [B, T] and `N.logits` float32
 * [B, T, V] of the Nth.
 */
import { z } from 'zod';
import { convertFolder } from '../src/convert/convert.js';
import { Random } from '../src/corpus/random.js';
import { readJson } from '../src/formats/atomic.js';
import { openWeights, readConfig } from '../src/formats/hf-folder.js';
import { type TensorSource, writeSafetensors } from '../src/formats/safetensors.js';
import { toDevice } from '../src/model/batch.js';
import { parseModelConfig } from '../src/model/config.js';
import { Decoder } from '../src/model/decoder.js';
import { ParameterStore } from '../src/model/store.js';
import { loadTensors } from '../src/model/store-files.js';
import * as torch from '../src/torch/index.js';

const ROWS = 2;
const LENGTH = 48;

/** Token rows and logits of one folder, as tensors to be written under `name`. */
function logitsOf(name: string, folder: string): TensorSource[] {
  const config = parseModelConfig(readConfig(folder), folder);
  const store = new ParameterStore(config);
  const weights = openWeights(folder);
  try {
    loadTensors(store, weights, folder);
    const sequenceLength = Math.min(LENGTH, config.maxPositionEmbeddings);
    const size = ROWS * sequenceLength;
    const random = new Random('parity', name);
    const inputIds = Int32Array.from({ length: size }, () => random.below(config.vocabSize));
    const labels = new Int32Array(size).fill(-100);
    const rows = { inputIds, labels, valid: null, rows: ROWS, sequenceLength, tokens: size, targets: 0 };
    const bytes = torch.scope(() => {
      const logits = new Decoder(store).logits(toDevice(rows, 'cpu'));
      return { bytes: logits.bytes() };
    }).bytes;
    const idBytes = new Uint8Array(inputIds.buffer);
    const shape = [ROWS, sequenceLength];
    return [
      { name: `${name}.inputIds`, dtype: 'I32', shape, write: (sink) => sink(idBytes) },
      {
        name: `${name}.logits`,
        dtype: 'F32',
        shape: [...shape, config.vocabSize],
        write: (sink) => sink(bytes),
      },
    ];
  } finally {
    weights.close();
    store.dispose();
  }
}

const [list = '', output = ''] = process.argv.slice(2);
const models = readJson(list, z.array(z.looseObject({ folder: z.string(), written: z.string().optional() })));
const quietly = { reporter: { progress: () => {}, say: () => {} }, stop: { requested: false, reason: '' } };
for (const { folder, written } of models) {
  // Several shards, so that they are tried as well.
  const format = { layout: 'per-expert', maxShardBytes: 50_000 } as const;
  if (written !== undefined)
    await convertFolder(folder, { into: written, command: 'parity', ...format }, quietly);
}
await writeSafetensors(
  output,
  models.flatMap(({ folder }, index) => logitsOf(String(index), folder)),
);

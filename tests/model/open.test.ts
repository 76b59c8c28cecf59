import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeHuggingFaceFolder } from '../../src/formats/hf-folder.js';
import type { TensorSource } from '../../src/formats/safetensors.js';
import { toHuggingFaceConfig } from '../../src/model/config.js';
import { fillInitialWeights } from '../../src/model/initial-weights.js';
import { openModel } from '../../src/model/open.js';
import { ParameterStore, type StoreOptions } from '../../src/model/store.js';
import { fingerprint, tensorSources } from '../../src/model/store-files.js';
import { changeJson, changeTensors } from '../runs.js';
import { expectNoLeaks } from '../torch/leaks.js';
import { tinyConfig } from './fixtures.js';

expectNoLeaks();

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'open-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Writes a model of seed 7 into the folder; returns the fingerprints of its parts. */
async function write(options: StoreOptions = {}, maxShardBytes?: number): Promise<string[]> {
  const store = new ParameterStore(tinyConfig(), options);
  fillInitialWeights(store, { seed: 7 });
  await writeHuggingFaceFolder(folder, {
    config: toHuggingFaceConfig(store.config),
    tensors: tensorSources(store),
    ...(maxShardBytes === undefined ? {} : { maxShardBytes }),
  });
  const prints = printsOf(store);
  store.dispose();
  return prints;
}
const printsOf = (store: ParameterStore) =>
  (['backbone', 'expert', 'router'] as const).map((role) => fingerprint(store, role));

/** Opens the folder; returns dtype and fingerprints. */
function open(options: StoreOptions = {}): { dtype: string; training: boolean; prints: string[] } {
  const store = openModel(folder, options);
  const { dtype, training } = store;
  const prints = printsOf(store);
  store.dispose();
  return { dtype, training, prints };
}

describe('a model folder', () => {
  it.each(['float32', 'bfloat16', 'float64'] as const)('comes back bit for bit in %s', async (dtype) => {
    const prints = await write({ dtype });
    expect(open()).toEqual({ dtype, training: false, prints });
  });

  it('may lie in shards, be opened for training and in another type', async () => {
    const prints = await write({}, 2000);
    expect(open({ training: true })).toEqual({ dtype: 'float32', training: true, prints });
    expect(open({ dtype: 'bfloat16' }).dtype).toBe('bfloat16');
  });

  it('of several types is opened in one that holds them all', async () => {
    await write({ dtype: 'bfloat16' });
    const norm = {
      dtype: 'F32',
      write: (sink: (bytes: Uint8Array) => void) => sink(new Uint8Array(64)),
    } as const;
    await changeWeights((tensor) => (tensor.name === 'model.norm.weight' ? { ...tensor, ...norm } : tensor));
    expect(open().dtype).toBe('float32');
    await changeWeights((tensor) =>
      tensor.dtype === 'F32'
        ? { ...tensor, dtype: 'F16', shape: tensor.shape, write: (sink) => sink(new Uint8Array(32)) }
        : tensor,
    );
    expect(open().dtype).toBe('float32');
  });
});

/** Changes tensors one by one. */
const changeWeights = (change: (tensor: TensorSource) => TensorSource) =>
  changeTensors(folder, (tensors) => tensors.map(change));

describe('refuses, naming file and tensor', () => {
  const NAME = 'model.layers.1.mlp.experts.3.down_proj.weight';

  it('a tensor that is missing, left over, of another shape or a type that weights do not have', async () => {
    await write();
    const changes: [(tensor: TensorSource) => TensorSource, string][] = [
      [(tensor) => ({ ...tensor, name: `${NAME}s` }), NAME],
      [(tensor) => ({ ...tensor, shape: [...tensor.shape].reverse() }), NAME],
      [(tensor) => ({ ...tensor, dtype: 'I32' }), NAME],
    ];
    for (const [change, key] of changes) {
      await write();
      await changeWeights((tensor) => (tensor.name === NAME ? change(tensor) : tensor));
      expect(() => open()).toThrow(expect.objectContaining({ exitStatus: 2, file: folder, key }));
    }
    await write();
    const extra: TensorSource = {
      name: 'extra',
      dtype: 'F32',
      shape: [1],
      write: (sink) => sink(new Uint8Array(4)),
    };
    await changeTensors(folder, (tensors) => [...tensors, extra]);
    expect(() => open()).toThrow(expect.objectContaining({ exitStatus: 2, key: 'extra' }));
  });

  it('another vocabulary, an unknown key, a missing file', async () => {
    await write();
    const config = join(folder, 'config.json');
    changeJson(config, (json) => {
      json.vocab_size = 61;
    });
    expect(() => open()).toThrow(
      expect.objectContaining({ exitStatus: 2, key: 'model.embed_tokens.weight' }),
    );
    changeJson(config, (json) => {
      json.rope_scalin = 2;
    });
    expect(() => open()).toThrow(
      expect.objectContaining({ exitStatus: 2, file: config, key: 'rope_scalin' }),
    );
    rmSync(config);
    expect(() => open()).toThrow(expect.objectContaining({ exitStatus: 2, file: config }));
    await write();
    rmSync(join(folder, 'model.safetensors'));
    writeFileSync(join(folder, 'pytorch_model.bin'), '');
    expect(() => open()).toThrow(expect.objectContaining({ exitStatus: 2, found: 'pytorch_model.bin' }));
  });
});

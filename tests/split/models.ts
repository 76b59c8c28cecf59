/** Model folders to start from, and runs that do. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sha256 } from '../../src/formats/hash.js';
import { writeHuggingFaceFolder } from '../../src/formats/hf-folder.js';
import { toDevice } from '../../src/model/batch.js';
import { type ModelConfig, parseModelConfig, toHuggingFaceConfig } from '../../src/model/config.js';
import { Decoder } from '../../src/model/decoder.js';
import { fillInitialWeights } from '../../src/model/initial-weights.js';
import { ParameterStore } from '../../src/model/store.js';
import { tensorSources } from '../../src/model/store-files.js';
import { loadRecipe } from '../../src/recipe/load.js';
import type { StageRun } from '../../src/run/context.js';
import { RunFolder } from '../../src/run/folder.js';
import { dtypeOf, modelConfigOf } from '../../src/split/stage.js';
import { openInit } from '../../src/split/start.js';
import * as torch from '../../src/torch/index.js';
import { tokenRows } from '../model/fixtures.js';

const body = {
  vocab_size: 60,
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  initializer_range: 0.3,
  rms_norm_eps: 1e-6,
  rope_theta: 10_000,
  max_position_embeddings: 128,
  tie_word_embeddings: false,
};
const moe = { moe_intermediate_size: 12, num_experts: 4, num_experts_per_tok: 2 };

/** A small config.json of each family; all have the same body, and a feed-forward part or experts of 12 neurons. */
export const CONFIGS: Record<string, Record<string, unknown>> = {
  qwen2_moe: {
    ...{ ...body, ...moe, model_type: 'qwen2_moe', norm_topk_prob: true },
    shared_expert_intermediate_size: 10,
  },
  mixtral: {
    ...{ ...body, model_type: 'mixtral', intermediate_size: 12 },
    ...{ num_local_experts: 4, num_experts_per_tok: 2 },
  },
  olmoe: {
    ...{ ...body, model_type: 'olmoe', intermediate_size: 12, norm_topk_prob: true },
    ...{ num_experts: 4, num_experts_per_tok: 2 },
  },
  llama_moe: {
    ...{ ...body, model_type: 'llama_moe', intermediate_size: 48, num_experts: 4, num_selects: 2 },
    score_scale_factor: 1,
  },
  qwen2: { ...body, model_type: 'qwen2', intermediate_size: 12 },
  llama: { ...body, model_type: 'llama', intermediate_size: 12 },
};

/** A configuration of {@link CONFIGS} with changes. */
export function configOf(family: string, changes: Record<string, unknown> = {}): ModelConfig {
  return parseModelConfig({ ...CONFIGS[family], ...changes }, family);
}

/** Writes the model that `seed` draws for a configuration into a folder. */
export async function writeModel(
  folder: string,
  config: ModelConfig,
  { seed = 0, dtype = 'float32' }: { seed?: number; dtype?: 'float32' | 'bfloat16' } = {},
): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const store = new ParameterStore(config, { dtype });
  fillInitialWeights(store, { seed });
  // No bias is 0 and no norm 1, so that none can stand for another.
  for (const { name, init, size } of store.parameters) {
    if (init === 'normal') continue;
    torch.scope(() => {
      const ramp = torch
        .arange(0, size, { dtype: 'float32' })
        .mul(0.01)
        .add(init === 'ones' ? 1 : -0.05);
      if (!name.includes('weight_noise')) store.parameter(name).copy_(ramp);
    });
  }
  await writeStore(folder, store);
  store.dispose();
  return folder;
}

/** Writes the model of a store into a folder. */
export async function writeStore(folder: string, store: ParameterStore): Promise<void> {
  const dtype = store.dtype === 'bfloat16' ? 'bfloat16' : 'float32';
  await writeHuggingFaceFolder(folder, {
    config: toHuggingFaceConfig(store.config, dtype),
    tensors: tensorSources(store),
  });
}

/** A run of this model, with recipe overrides; nothing of it is done. `said` collects what stages say. */
export function runOf(
  folder: string,
  config: Record<string, unknown>,
  overrides: readonly string[],
): { context: StageRun; said: string[] } {
  const { recipe } = loadRecipe(
    fileURLToPath(new URL('../../recipes/tiny.yaml', import.meta.url)),
    [`model.config=${JSON.stringify(config)}`, 'merge.gamma=uniform', ...overrides],
    { files: 'ignore' },
  );
  const said: string[] = [];
  const context: StageRun = {
    run: RunFolder.create(folder, 'format: 1\n'),
    recipe,
    reporter: { progress: () => {}, say: (text) => said.push(text) },
    stop: { requested: false, reason: '' },
    device: 'cpu',
  };
  return { context, said };
}

/** A store with the initial weights of a run: the whole model, or submodel k. The caller disposes it. */
export function startedStore(context: StageRun, config: ModelConfig, k?: number): ParameterStore {
  const start = openInit(context, k);
  const store = new ParameterStore(config, { dtype: dtypeOf(context.recipe) });
  try {
    start.fill(store, k);
    return store;
  } catch (error) {
    store.dispose();
    throw error;
  } finally {
    start.close();
  }
}

/** The whole model of a run as it starts. The caller disposes it. */
export function startedModel(context: StageRun): ParameterStore {
  return startedStore(context, modelConfigOf(context.recipe, context.run));
}

/** Logits of a store's model on a few rows, padding included. */
export function logitsOf(store: ParameterStore): number[] {
  return torch.scope(() => {
    const batch = toDevice(tokenRows([9, 5], 9), 'cpu');
    return new Decoder(store).logits(batch).toNumbers();
  });
}

/** SHA-256 of tensors' bytes by name: long ones are compared quickly. */
export function hashed(tensors: ReadonlyMap<string, Uint8Array>): Record<string, string> {
  return Object.fromEntries([...tensors].map(([name, bytes]) => [name, sha256(bytes)]));
}

/** Bytes of every tensor of a store by name. */
export function bytesOf(store: ParameterStore): Map<string, Uint8Array> {
  return new Map(
    store.parameters.map(({ name }) => [name, torch.scope(() => store.parameter(name).bytes())] as const),
  );
}

/** The file in a folder of models. */
export const weightsFile = (folder: string): string => join(folder, 'model.safetensors');

/** Small models and token rows for tests. */
import type { TokenRows } from '../../src/model/batch.js';
import {
  type ConfigJson,
  type ModelConfig,
  type ModelType,
  parseModelConfig,
} from '../../src/model/config.js';
import { Decoder } from '../../src/model/decoder.js';
import { fillInitialWeights } from '../../src/model/initial-weights.js';
import { ParameterStore, type StoreOptions } from '../../src/model/store.js';

/** config.json of a Qwen2-MoE with 4 experts, top-2. */
export const tinyJson = {
  model_type: 'qwen2_moe',
  vocab_size: 60,
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 20,
  moe_intermediate_size: 12,
  shared_expert_intermediate_size: 10,
  num_experts: 4,
  num_experts_per_tok: 2,
  norm_topk_prob: true,
  output_router_logits: true,
  router_aux_loss_coef: 0.1,
  initializer_range: 0.3,
};

const body = {
  vocab_size: 60,
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 12,
  max_position_embeddings: 64,
  initializer_range: 0.3,
};
const routed = { num_experts_per_tok: 2, output_router_logits: true, router_aux_loss_coef: 0.1 };

/** config.json of a small model of every family; those with a router have 4 experts, top-2. */
export const familyJson = {
  qwen2_moe: tinyJson,
  llama_moe: { model_type: 'llama_moe', ...body, intermediate_size: 48, num_experts: 4, num_selects: 2 },
  mixtral: { model_type: 'mixtral', ...body, ...routed, num_local_experts: 4 },
  olmoe: { model_type: 'olmoe', ...body, ...routed, num_experts: 4 },
  qwen3_moe: { model_type: 'qwen3_moe', ...body, ...routed, num_experts: 4, moe_intermediate_size: 12 },
  qwen2: { model_type: 'qwen2', ...body },
  llama: { model_type: 'llama', ...body },
} satisfies Record<ModelType, ConfigJson>;

export function tinyConfig(changes: Record<string, unknown> = {}): ModelConfig {
  return parseModelConfig({ ...tinyJson, ...changes }, 'config.json');
}

/** Runs `body` with a model of seed 7 and frees it. */
export function withModel<T>(
  changes: Record<string, unknown>,
  options: StoreOptions,
  body: (model: Decoder) => T,
): T {
  const store = new ParameterStore(tinyConfig(changes), options);
  fillInitialWeights(store, { seed: 7 });
  const result = body(new Decoder(store));
  store.dispose();
  return result;
}

/** Numbers in [0, 1) that follow from a seed. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Random rows; row r is cut to `lengths[r]` tokens, the rest is padding. */
export function tokenRows(
  lengths: readonly number[],
  sequenceLength: number,
  seed = 1,
  vocabulary = 60,
): TokenRows {
  const next = random(seed);
  const size = lengths.length * sequenceLength;
  const rows: TokenRows = {
    inputIds: new Int32Array(size),
    labels: new Int32Array(size).fill(-100),
    valid: lengths.every((length) => length === sequenceLength) ? null : new Uint8Array(size),
    rows: lengths.length,
    sequenceLength,
    tokens: 0,
    targets: 0,
  };
  lengths.forEach((length, row) => {
    for (let t = 0; t < length; t++) {
      const at = row * sequenceLength + t;
      rows.inputIds[at] = Math.floor(next() * vocabulary);
      if (rows.valid) rows.valid[at] = 1;
      if (t > 0) rows.labels[at - 1] = rows.inputIds[at]!;
      rows.tokens++;
      if (t > 0) rows.targets++;
    }
  });
  return rows;
}

/** Rows first .. first + count - 1. */
export function sliceRows(rows: TokenRows, first: number, count: number): TokenRows {
  const { sequenceLength } = rows;
  const [from, to] = [first * sequenceLength, (first + count) * sequenceLength];
  const labels = rows.labels.slice(from, to);
  const valid = rows.valid?.slice(from, to) ?? null;
  return {
    inputIds: rows.inputIds.slice(from, to),
    labels,
    valid,
    rows: count,
    sequenceLength,
    tokens: valid ? valid.reduce((sum, v) => sum + v, 0) : to - from,
    targets: labels.filter((label) => label >= 0).length,
  };
}

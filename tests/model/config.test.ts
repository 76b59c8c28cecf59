import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DataError } from '../../src/errors.js';
import {
  isSparseLayer,
  parseModelConfig,
  submodelConfig,
  toHuggingFaceConfig,
} from '../../src/model/config.js';
import { tinyConfig, tinyJson } from './fixtures.js';

const qwen = JSON.parse(
  readFileSync(new URL('../golden/configs/qwen1.5-moe-a2.7b.config.json', import.meta.url), 'utf8'),
) as Record<string, unknown>;

function refusal(json: unknown): DataError {
  try {
    parseModelConfig(json, 'some/config.json');
  } catch (error) {
    if (error instanceof DataError) return error;
    throw error;
  }
  throw new Error('was not refused');
}

describe('reading config.json', () => {
  it('reads that of Qwen1.5-MoE-A2.7B', () => {
    expect(parseModelConfig(qwen, 'config.json')).toMatchObject({
      hiddenSize: 2048,
      headDim: 128,
      numExperts: 60,
      numExpertsPerTok: 4,
      normTopkProb: false,
      ropeTheta: 1_000_000,
      qkvBias: true,
      outputRouterLogits: false,
      routerAuxLossCoef: 0.001,
      eosTokenId: 151643,
    });
  });

  it('reads the form that transformers 5 writes', () => {
    const { rope_theta: theta, ...flat } = qwen;
    const newer = {
      ...flat,
      rope_parameters: { rope_theta: theta, rope_type: 'default' },
      layer_types: new Array<string>(24).fill('full_attention'),
      sliding_window: 0,
      dtype: 'bfloat16',
      pad_token_id: null,
    };
    expect(parseModelConfig(newer, 'config.json')).toEqual(parseModelConfig(qwen, 'config.json'));
  });

  it('takes what transformers takes where a key is absent', () => {
    expect(tinyConfig()).toMatchObject({ ropeTheta: 10_000, rmsNormEps: 1e-6, qkvBias: true, headDim: 4 });
  });

  it.each([
    ['hidden_act', 'gelu'],
    ['attention_dropout', 0.1],
    ['use_sliding_window', true],
    ['rope_scaling', { type: 'linear', factor: 2 }],
    ['layer_types', ['full_attention', 'sliding_attention']],
    ['layer_types', ['full_attention']],
    ['architectures', ['MixtralForCausalLM']],
    ['quantization_config', { bits: 4 }],
    ['num_experts', 0],
    ['num_experts', '4'],
    ['num_experts_per_tok', 5],
    ['num_key_value_heads', 3],
    ['num_attention_heads', 3],
    ['head_dim', 5],
    ['mlp_only_layers', [2]],
    ['norm_topk_prob', 1],
    ['router_aux_loss_coef', -1],
    ['rms_norm_eps', 0],
    ['eos_token_id', 'x'],
    ['pad_token_id', 60],
    ['rope_theta', -1],
    ['score_function', 'sigmoid'],
    ['n_shared_experts', 2],
  ])('refuses %s = %j by name', (key, value) => {
    const error = refusal({ ...tinyJson, [key]: value });
    expect(error.file).toBe('some/config.json');
    expect(error.key).toBe(key);
    expect(error.expected).toBeTruthy();
    expect(error.found).toContain(
      JSON.stringify(Array.isArray(value) && key === 'mlp_only_layers' ? 2 : value),
    );
  });

  it.each([
    ['rope_parameters.rope_type', { rope_type: 'yarn', rope_theta: 1e4 }],
    ['rope_parameters.factor', { rope_type: 'default', rope_theta: 1e4, factor: 2 }],
    ['rope_parameters.partial_rotary_factor', { rope_theta: 1e4, partial_rotary_factor: 0.5 }],
  ])('refuses %s', (key, parameters) => {
    expect(refusal({ ...tinyJson, rope_parameters: parameters }).key).toBe(key);
  });

  it('refuses two different values of rope_theta', () => {
    expect(refusal({ ...tinyJson, rope_theta: 1e6, rope_parameters: { rope_theta: 1e4 } }).key).toBe(
      'rope_theta',
    );
  });

  it.each(['vocab_size', 'hidden_size', 'num_experts'])('refuses a file without %s', (key) => {
    const error = refusal({ ...tinyJson, [key]: undefined });
    expect([error.key, error.found]).toEqual([key, 'nothing']);
  });

  it('refuses another family and what is no object', () => {
    expect(refusal({ ...tinyJson, model_type: 'gpt2' }).key).toBe('model_type');
    expect(refusal(['qwen2_moe']).message).toContain('JSON object');
  });
});

describe('writing config.json', () => {
  it.each([
    {},
    { head_dim: 6 },
    { tie_word_embeddings: true, pad_token_id: 3, eos_token_id: [1, 2] },
    { mlp_only_layers: [0], decoder_sparse_step: 2, rope_theta: 500 },
  ])('gives back %j', (changes) => {
    const config = tinyConfig(changes);
    const written = JSON.parse(JSON.stringify(toHuggingFaceConfig(config, 'bfloat16'))) as Record<
      string,
      unknown
    >;
    expect(parseModelConfig(written, 'config.json')).toEqual(config);
    expect(written).toMatchObject({ architectures: ['Qwen2MoeForCausalLM'], torch_dtype: 'bfloat16' });
  });

  it('a submodel has one expert, which every token takes', () => {
    const json = toHuggingFaceConfig(submodelConfig(tinyConfig()));
    expect(json).toMatchObject({ num_experts: 1, num_experts_per_tok: 1, hidden_size: 16 });
  });
});

describe('layers with experts', () => {
  it('are those of decoder_sparse_step that are not in mlp_only_layers', () => {
    const config = tinyConfig({ num_hidden_layers: 6, decoder_sparse_step: 2, mlp_only_layers: [3] });
    expect([0, 1, 2, 3, 4, 5].filter((layer) => isSparseLayer(config, layer))).toEqual([1, 5]);
  });
});

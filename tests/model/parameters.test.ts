import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseModelConfig, submodelConfig } from '../../src/model/config.js';
import { countParameters, parameterLayout } from '../../src/model/parameters.js';
import { tinyConfig } from './fixtures.js';

const json = JSON.parse(
  readFileSync(new URL('../golden/configs/qwen1.5-moe-a2.7b.config.json', import.meta.url), 'utf8'),
) as Record<string, unknown>;
const qwen = (experts: number) =>
  parseModelConfig(
    { ...json, num_experts: experts, num_experts_per_tok: Math.min(4, experts) },
    'config.json',
  );

describe('counting the parameters of Qwen1.5-MoE-A2.7B', () => {
  it('E = 60', () => {
    const count = countParameters(qwen(60));
    expect(count.total).toBe(14_315_784_192);
    expect(count.active / 1e9).toBeCloseTo(2.689, 3);
    expect(count.experts).toBe(24 * 60 * 8_650_752);
    expect(count.router).toBe(24 * 60 * 2048);
    expect(count.embedding).toBe(151_936 * 2048);
    expect(count.head).toBe(151_936 * 2048);
  });

  it('E = 4, all of them active', () => {
    const count = countParameters(qwen(4));
    expect(count.total).toBe(2_686_420_992);
    expect(count.active).toBe(count.total);
    expect(count.trained).toBe(count.total);
  });

  it('E = 2', () => {
    expect(countParameters(qwen(2)).total / 1e9).toBeCloseTo(2.271, 3);
  });

  it('a submodel, with and without its router rows, which are not trained', () => {
    const count = countParameters(submodelConfig(qwen(60)));
    expect(count.total).toBe(2_063_419_392);
    expect(count.total - count.router).toBe(2_063_370_240);
    expect(count.trained).toBe(2_063_370_240);
  });
});

describe('layout', () => {
  it.each([
    {},
    { num_experts: 1, num_experts_per_tok: 1 },
    { tie_word_embeddings: true, qkv_bias: false, mlp_only_layers: [0] },
  ])('fills every block without gap or overlap, trained parameters first: %j', (changes) => {
    for (const block of parameterLayout(tinyConfig(changes))) {
      let end = 0;
      for (const parameter of block.parameters) {
        expect(parameter.offset).toBe(end);
        end += parameter.size;
        expect(parameter.trained).toBe(end <= block.trainedSize);
      }
      expect(end).toBe(block.size);
    }
  });

  it('orders blocks as embedding, layers, head and names parameters as Hugging Face does', () => {
    const blocks = parameterLayout(tinyConfig());
    expect(blocks.map((block) => block.kind)).toEqual(['embedding', 'layer', 'layer', 'head']);
    const names = blocks.flatMap((block) => block.parameters.map((parameter) => parameter.name));
    expect(names).toHaveLength(1 + 2 * (2 + 7 + 2 + 12 + 3) + 2);
    expect(names).toContain('model.layers.1.mlp.experts.3.down_proj.weight');
    expect(names).toContain('model.layers.0.self_attn.k_proj.bias');
    expect(new Set(names).size).toBe(names.length);
  });

  it('puts the experts of a layer side by side: [E, 2I, H], then [E, H, I]', () => {
    const layer = parameterLayout(tinyConfig())[1]!;
    const offset = (name: string) => layer.parameters.find((p) => p.name.endsWith(name))!.offset;
    const [width, hidden] = [12, 16];
    expect(offset('experts.0.up_proj.weight') - offset('experts.0.gate_proj.weight')).toBe(width * hidden);
    expect(offset('experts.3.gate_proj.weight') - offset('experts.0.gate_proj.weight')).toBe(
      6 * width * hidden,
    );
    expect(offset('experts.0.down_proj.weight') - offset('experts.0.gate_proj.weight')).toBe(
      8 * width * hidden,
    );
    expect(offset('experts.1.down_proj.weight') - offset('experts.0.down_proj.weight')).toBe(width * hidden);
  });

  it('separates theta_shared, theta_k and the router by role', () => {
    const parameters = parameterLayout(tinyConfig()).flatMap((block) => block.parameters);
    const roleOf = (name: string) => parameters.find((parameter) => parameter.name === name)?.role;
    expect(roleOf('model.layers.0.mlp.gate.weight')).toBe('router');
    expect(roleOf('model.layers.0.mlp.shared_expert_gate.weight')).toBe('backbone');
    expect(roleOf('model.layers.0.mlp.shared_expert.up_proj.weight')).toBe('backbone');
    expect(roleOf('model.layers.0.mlp.experts.2.up_proj.weight')).toBe('expert');
    expect(parameters.filter((parameter) => parameter.expert === 2)).toHaveLength(6);
  });

  it('a model with tied embeddings has no head table', () => {
    const names = parameterLayout(tinyConfig({ tie_word_embeddings: true })).flatMap((b) =>
      b.parameters.map((p) => p.name),
    );
    expect(names).not.toContain('lm_head.weight');
  });
});

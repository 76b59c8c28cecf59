/** What every family has in common: configurations, names, parameters, and submodels. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { flopsPerToken } from '../../src/cost/flops.js';
import { parameterParts } from '../../src/cost/parameters.js';
import { DataError } from '../../src/errors.js';
import { toDevice } from '../../src/model/batch.js';
import {
  type ConfigJson,
  type ModelType,
  parseModelConfig,
  submodelConfig,
  toHuggingFaceConfig,
} from '../../src/model/config.js';
import { Decoder } from '../../src/model/decoder.js';
import { fillInitialWeights } from '../../src/model/initial-weights.js';
import { gateNoise } from '../../src/model/noisy-router.js';
import { countParameters, parameterLayout } from '../../src/model/parameters.js';
import { remoteCodeOf } from '../../src/model/remote-code.js';
import { ParameterStore } from '../../src/model/store.js';
import { fingerprint } from '../../src/model/store-files.js';
import * as torch from '../../src/torch/index.js';
import { lossAndGradients } from '../../src/train/backward.js';
import { expectNoLeaks } from '../torch/leaks.js';
import { familyJson, tokenRows } from './fixtures.js';

expectNoLeaks();

const families = Object.keys(familyJson) as ModelType[];
const sparse = families.filter((family) => !['qwen2', 'llama'].includes(family));
const parse = (family: ModelType, changes: ConfigJson = {}) =>
  parseModelConfig({ ...familyJson[family], ...changes }, 'config.json');
const published = (name: string, changes: ConfigJson = {}) => {
  const file = new URL(`../golden/configs/${name}.config.json`, import.meta.url);
  return parseModelConfig({ ...(JSON.parse(readFileSync(file, 'utf8')) as ConfigJson), ...changes }, name);
};
const names = (family: ModelType, changes: ConfigJson = {}) =>
  parameterLayout(parse(family, changes)).flatMap((block) => block.parameters.map(({ name }) => name));

function refusal(family: ModelType, changes: ConfigJson): DataError {
  try {
    parse(family, changes);
  } catch (error) {
    if (error instanceof DataError) return error;
    throw error;
  }
  throw new Error('was not refused');
}

/** A store with initial weights of seed 7, freed after `body`. */
function withStore<T>(
  config: ReturnType<typeof parse>,
  expert: number | null,
  body: (store: ParameterStore) => T,
): T {
  const store = new ParameterStore(config, { training: true });
  try {
    fillInitialWeights(store, expert === null ? { seed: 7 } : { seed: 7, expert });
    return torch.scope(() => body(store));
  } finally {
    store.dispose();
  }
}

describe('parameter counts of published configurations, nothing allocated', () => {
  const llamaMoe = (experts: number) =>
    published('llama-moe-v1-3_0b-2_16', {
      num_experts: experts,
      num_selects: Math.min(4, experts),
      size_experts: null,
      intermediate_size: experts * 688,
      score_scale_factor: 1,
    });

  it.each([
    ['qwen1.5-moe-a2.7b', 14_315_784_192],
    ['mixtral-8x7b-v0.1', 46_702_792_704],
    ['olmoe-1b-7b-0924', 6_919_161_856],
    ['qwen3-30b-a3b', 30_532_122_624],
  ])('%s', (name, total) => {
    expect(countParameters(published(name)).total).toBe(total);
  });

  it('LLaMA-MoE as published, with four experts, and its submodels', () => {
    const whole = countParameters(published('llama-moe-v1-3_0b-2_16'));
    expect((whole.total / 1e9).toFixed(2)).toBe('6.74');
    expect((whole.active / 1e9).toFixed(1)).toBe('3.0');
    expect(countParameters(llamaMoe(4)).total).toBe(3_493_073_408);
    expect(countParameters(submodelConfig(llamaMoe(4))).total).toBe(2_680_426_496);
    const gated = countParameters(submodelConfig({ ...llamaMoe(4), scoreScaleFactor: 4 }));
    expect([gated.total, gated.trained]).toEqual([2_680_688_672, 2_680_426_496]);
  });
});

describe.each(families)('%s', (family) => {
  it('reads what it writes', () => {
    const config = parse(family);
    const written = JSON.parse(JSON.stringify(toHuggingFaceConfig(config, 'bfloat16'))) as ConfigJson;
    expect(parseModelConfig(written, 'config.json')).toEqual(config);
  });

  it.each([
    ['hidden_act', 'gelu'],
    ['attention_dropout', 0.1],
    ['quantization_config', { bits: 4 }],
    ['rope_scaling', { rope_type: 'yarn', factor: 2 }],
    ['no_such_key', 1],
    ['hidden_size', undefined],
  ])('refuses %s = %j by name', (key, value) => {
    expect(refusal(family, { [key]: value })).toMatchObject({ file: 'config.json', key });
  });

  it('is counted whole by its parts, and its FLOPs by what a token meets', () => {
    const config = parse(family);
    const parts = parameterParts(config);
    const { attention, norms, sharedExperts, dense, experts, router, embedding, head, total } = parts;
    expect(attention + norms + sharedExperts + dense + experts + router + embedding + head).toBe(total);
    const idle = (experts / config.numExperts) * (config.numExperts - config.numExpertsPerTok);
    expect(flopsPerToken(config, 8)).toBe(6 * (total - idle - embedding) + 6 * 2 * 8 * 16);
  });

  it('has every name once, and lays out every block without gap', () => {
    const all = names(family);
    expect(new Set(all).size).toBe(all.length);
    for (const block of parameterLayout(parse(family))) {
      expect(block.parameters.reduce((sum, { size }) => sum + size, 0)).toBe(block.size);
    }
  });
});

describe('keys of single families', () => {
  it.each<[ModelType, string, unknown]>([
    ['mixtral', 'sliding_window', 32],
    ['mixtral', 'router_jitter_noise', 0.1],
    ['llama', 'mlp_bias', true],
    ['olmoe', 'head_dim', 6],
    ['llama_moe', 'gate_network', 'linear'],
    ['llama_moe', 'gate_type', 'SwitchBalancedGate'],
    [
      'llama_moe',
      'size_experts',
      [
        [8, 8, 8, 16],
        [8, 8, 8, 16],
      ],
    ],
    ['llama_moe', 'multiply_gate_scores', false],
    ['llama_moe', 'num_selects', 5],
    ['qwen3_moe', 'use_sliding_window', true],
  ])('%s refuses %s = %j', (family, key, value) => {
    expect(refusal(family, { [key]: value }).key).toBe(key);
  });

  it('takes the other name of the number of experts, unless both differ', () => {
    const { num_experts: experts, ...rest } = familyJson.qwen3_moe;
    expect(parseModelConfig({ ...rest, num_local_experts: experts }, 'x')).toEqual(parse('qwen3_moe'));
    expect(refusal('qwen3_moe', { num_local_experts: 3 }).key).toBe('num_local_experts');
  });

  it("reads Llama 3's scaling of RoPE in both forms", () => {
    const scaling = {
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 32,
    };
    const flat = parse('llama', { rope_theta: 5e5, rope_scaling: { type: 'llama3', ...scaling } });
    const newer = { rope_parameters: { rope_type: 'llama3', rope_theta: 5e5, ...scaling } };
    expect(parse('llama', newer)).toEqual(flat);
    expect(flat.ropeScaling?.factor).toBe(8);
    expect(refusal('mixtral', newer).key).toBe('rope_parameters.rope_type');
    const wrong = { rope_scaling: { rope_type: 'llama3', ...scaling, low_freq_factor: 4 } };
    expect(refusal('llama', wrong).key).toBe('rope_scaling.high_freq_factor');
  });
});

describe('submodels', () => {
  it.each(sparse)('of %s begin as backbone and expert k of the whole model', (family) => {
    const config = parse(family);
    const whole = withStore(config, null, (store) => [
      fingerprint(store, 'backbone'),
      fingerprint(store, 'expert', 2),
    ]);
    const single = withStore(submodelConfig(config), 2, (store) => [
      fingerprint(store, 'backbone'),
      fingerprint(store, 'expert', 0),
    ]);
    expect(single).toEqual(whole);
  });

  it.each([1, 4])(
    'of LLaMA-MoE with scale %d compute what the whole model does with that expert alone',
    (scale) => {
      const config = parse('llama_moe', { score_scale_factor: scale });
      const submodel = submodelConfig(config);
      expect(submodel.modelType).toBe(scale === 1 ? 'llama' : 'llama_moe');
      expect(parseModelConfig(toHuggingFaceConfig(submodel), 'config.json')).toEqual(submodel);
      expect(Object.keys(remoteCodeOf(submodel))).toHaveLength(scale === 1 ? 0 : 2);
      const rows = tokenRows([9, 9], 9);
      const own = withStore(submodel, 2, (store) =>
        new Decoder(store).logits(toDevice(rows, 'cpu')).toNumbers(),
      );
      const forced = withStore(config, null, (store) => {
        const forcedExperts = torch.full([18], 2, { dtype: 'int64' });
        return new Decoder(store).logits(toDevice(rows, 'cpu'), { forcedExperts }).toNumbers();
      });
      expect(Math.max(...own.map((value, i) => Math.abs(value - forced[i]!)))).toBeLessThan(1e-5);
    },
  );
});

describe('noise of routers', () => {
  it('follows from seed, layer, step and row alone, whatever the micro-batch', () => {
    torch.scope(() => {
      const place = { seed: 3, step: 5, firstRow: 0, rows: 4, sequenceLength: 6 };
      const all = gateNoise(place, 3, 'cpu')(1).toNumbers();
      const part = gateNoise({ ...place, firstRow: 2, rows: 1 }, 3, 'cpu')(1).toNumbers();
      expect(part).toEqual(all.slice(2 * 18, 3 * 18));
      for (const change of [{ seed: 4 }, { step: 6 }]) {
        expect(gateNoise({ ...place, ...change }, 3, 'cpu')(1).toNumbers()).not.toEqual(all);
      }
      expect(gateNoise(place, 3, 'cpu')(0).toNumbers()).not.toEqual(all);
    });
  });

  it('changes the loss, and its weights have a gradient', () => {
    withStore(parse('llama_moe'), null, (store) => {
      const rows = tokenRows([9, 9], 9);
      const loss = (noise?: (layer: number) => torch.Tensor) => {
        const request = { globalTargets: rows.targets, mode: 'blocks', noise } as const;
        return lossAndGradients(new Decoder(store), toDevice(rows, 'cpu'), request).loss;
      };
      const place = { seed: 3, step: 0, firstRow: 0, rows: 2, sequenceLength: 9 };
      const quiet = loss();
      expect(store.gradient('model.layers.1.mlp.gate.weight_noise.weight')!.abs().sum().item()).toBe(0);
      expect(loss(gateNoise(place, 4, 'cpu'))).not.toBe(quiet);
      expect(
        store.gradient('model.layers.1.mlp.gate.weight_noise.weight')!.abs().sum().item(),
      ).toBeGreaterThan(0);
    });
  });
});

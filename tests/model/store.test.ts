import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { DataError } from '../../src/errors.js';
import { SafetensorsReader, writeSafetensors } from '../../src/formats/safetensors.js';
import { submodelConfig } from '../../src/model/config.js';
import { fillInitialWeights, initialKey } from '../../src/model/initial-weights.js';
import { ParameterStore } from '../../src/model/store.js';
import { fingerprint, loadTensors, tensorSources } from '../../src/model/store-files.js';
import * as torch from '../../src/torch/index.js';
import { expectNoLeaks } from '../torch/leaks.js';
import { tinyConfig } from './fixtures.js';

expectNoLeaks();
const folder = mkdtempSync(join(tmpdir(), 'disco-store-'));
afterAll(() => rmSync(folder, { recursive: true }));

const whole = (dtype: 'float32' | 'bfloat16' = 'float32') => {
  const store = new ParameterStore(tinyConfig(), { training: true, dtype });
  fillInitialWeights(store, { seed: 7 });
  return store;
};
const submodel = (expert: number) => {
  const store = new ParameterStore(submodelConfig(tinyConfig()), { training: true });
  fillInitialWeights(store, { seed: 7, expert });
  return store;
};
const values = (store: ParameterStore, name: string) => torch.scope(() => store.parameter(name).toNumbers());
const gate = 'model.layers.1.mlp.gate.weight';

describe('the parameter store', () => {
  it('gives views: what is written by name is seen in the flat tensor, gradients likewise', () => {
    const store = whole();
    torch.scope(() => {
      const name = 'model.layers.1.mlp.experts.2.up_proj.weight';
      const { offset, size } = store.describe(name);
      store.parameter(name).fill_(3);
      const part = store.blocks[2]!.weights.narrow(0, offset, size);
      expect(new Set(part.toNumbers())).toEqual(new Set([3]));
      expect(store.blocks[2]!.tensors['experts.2.gateUp']!.narrow(0, 12, 12).sum().item()).toBe(3 * size);
      store.blocks[2]!.tensors['experts.2.gateUp']!.grad!.fill_(2);
      expect(store.gradient(name)!.sum().item()).toBe(2 * size);
      store.zeroGrad();
      expect(store.gradient(name)!.sum().item()).toBe(0);
    });
    store.dispose();
  });

  it('keeps no gradient and no moments of the router row of a submodel', () => {
    const store = submodel(2);
    expect(store.gradient(gate)).toBeNull();
    expect(store.view('firstMoments', gate)).toBeNull();
    const trained = store.blocks[1]!;
    expect(trained.weights.numel - trained.training!.gradients.numel).toBe(16);
    store.dispose();
  });

  it('knows its names', () => {
    const store = whole();
    expect(() => store.parameter('model.layers.9.mlp.gate.weight')).toThrow(RangeError);
    expect(store.training).toBe(true);
    store.dispose();
  });
});

describe('initial weights', () => {
  it('come from the stream of their name: normal for matrices, 0 for biases, 1 for norms', () => {
    const store = whole();
    const name = 'model.layers.0.self_attn.o_proj.weight';
    const expected = torch.scope(() => {
      const stream = torch.zeros([256]);
      torch.initNormal_(stream, initialKey(7, name), 0, 0.3);
      return stream.toNumbers();
    });
    expect(values(store, name)).toEqual(expected);
    expect(Math.sqrt(expected.reduce((sum, x) => sum + x * x, 0) / 256)).toBeCloseTo(0.3, 1);
    expect(new Set(values(store, 'model.layers.0.self_attn.q_proj.bias'))).toEqual(new Set([0]));
    expect(new Set(values(store, 'model.norm.weight'))).toEqual(new Set([1]));
    store.dispose();
  });

  it('of submodel k are those of the backbone, of expert k and of router row k', () => {
    const [model, part] = [whole(), submodel(2)];
    for (const projection of ['gate_proj', 'up_proj', 'down_proj']) {
      const own = values(part, `model.layers.1.mlp.experts.0.${projection}.weight`);
      expect(own).toEqual(values(model, `model.layers.1.mlp.experts.2.${projection}.weight`));
    }
    expect(values(part, gate)).toEqual(values(model, gate).slice(32, 48));
    expect(values(part, 'lm_head.weight')).toEqual(values(model, 'lm_head.weight'));
    expect(() => fillInitialWeights(model, { seed: 7, expert: 1 })).toThrow(RangeError);
    model.dispose();
    part.dispose();
  });

  it('in bfloat16 are the float32 ones rounded', () => {
    const [full, half] = [whole(), whole('bfloat16')];
    torch.scope(() => {
      const rounded = full.parameter('lm_head.weight').to({ dtype: 'bfloat16' }).toNumbers();
      expect(half.parameter('lm_head.weight').toNumbers()).toEqual(rounded);
    });
    full.dispose();
    half.dispose();
  });
});

describe('fingerprints', () => {
  it('agree between the whole model and its submodels, and notice one changed bit', () => {
    const [model, first, second] = [whole(), submodel(1), submodel(2)];
    expect(fingerprint(first, 'backbone')).toBe(fingerprint(model, 'backbone'));
    expect(fingerprint(first, 'expert', 0)).toBe(fingerprint(model, 'expert', 1));
    expect(fingerprint(first, 'expert', 0)).not.toBe(fingerprint(second, 'expert', 0));
    const before = fingerprint(first, 'backbone');
    torch.scope(
      () =>
        void first
          .parameter('model.norm.weight')
          .narrow(0, 3, 1)
          .fill_(1 + 2 ** -23),
    );
    expect(fingerprint(first, 'backbone')).not.toBe(before);
    for (const store of [model, first, second]) store.dispose();
  });
});

describe('files', () => {
  it.each(['float32', 'bfloat16'] as const)('%s weights and moments come back bit for bit', async (dtype) => {
    const [from, to] = [whole(dtype), new ParameterStore(tinyConfig(), { training: true, dtype })];
    torch.scope(() => from.blocks.forEach((block, i) => void block.training!.secondMoments.fill_(i + 0.5)));
    const path = join(folder, `${dtype}.safetensors`);
    await writeSafetensors(path, [
      ...tensorSources(from, 'weights', 'weights/'),
      ...tensorSources(from, 'secondMoments', 'second/'),
    ]);
    const file = SafetensorsReader.open(path);
    loadTensors(to, file, path, { prefix: 'weights/' });
    loadTensors(to, file, path, { kind: 'secondMoments', prefix: 'second/' });
    file.close();
    expect(fingerprint(to, 'backbone')).toBe(fingerprint(from, 'backbone'));
    expect(fingerprint(to, 'expert')).toBe(fingerprint(from, 'expert'));
    expect(fingerprint(to, 'router')).toBe(fingerprint(from, 'router'));
    torch.scope(() => expect(to.blocks[2]!.training!.secondMoments.amin().item()).toBe(2.5));
    from.dispose();
    to.dispose();
  });

  it('a missing tensor, one too many and one of another shape are refused by name', async () => {
    const store = whole();
    const sources = tensorSources(store);
    const path = join(folder, 'bad.safetensors');
    const refusal = async (tensors: typeof sources): Promise<DataError> => {
      await writeSafetensors(path, tensors);
      const file = SafetensorsReader.open(path);
      try {
        loadTensors(store, file, path);
      } catch (error) {
        if (error instanceof DataError) return error;
        throw error;
      } finally {
        file.close();
      }
      throw new Error('was not refused');
    };
    const one = sources.find((source) => source.name === 'model.norm.weight')!;
    const others = sources.filter((source) => source !== one);
    const eight = { ...one, shape: [8], write: one.write };
    expect((await refusal(others)).key).toBe('model.norm.weight');
    expect((await refusal([...sources, { ...one, name: 'extra.weight' }])).key).toBe('extra.weight');
    const short = { ...eight, write: (sink: (bytes: Uint8Array) => void) => sink(new Uint8Array(32)) };
    expect(await refusal([...others, short])).toMatchObject({ expected: '[16]', found: '[8]', file: path });
    store.dispose();
  });
});

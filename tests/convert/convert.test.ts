/** convert, split and inspect on folders of every family. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { convertFolder, type Format } from '../../src/convert/convert.js';
import { inspectFolder } from '../../src/convert/inspect.js';
import { splitFolder } from '../../src/convert/split.js';
import { readJson } from '../../src/formats/atomic.js';
import { sha256 } from '../../src/formats/hash.js';
import { openWeights } from '../../src/formats/hf-folder.js';
import { openModel } from '../../src/model/open.js';
import { fingerprint } from '../../src/model/store-files.js';
import { changeTensors, tensorsOf, valuesOf } from '../runs.js';
import { expectNoLeaks } from '../torch/leaks.js';
import { CONFIGS, surroundings, writeModelFolder } from './models.js';

expectNoLeaks();

let root: string;
const at = (...parts: string[]) => join(root, ...parts);
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'convert-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const convert = (folder: string, into: string, format: Format = {}) =>
  convertFolder(folder, { into, command: 'moe-disco convert', ...format }, surroundings());
const FUSED = Object.keys(CONFIGS).filter((family) => !family.startsWith('llama'));
const GATE = 'model.layers.1.mlp.experts.gate_up_proj';

describe('layouts', () => {
  it.each(FUSED)('%s: fused and back is the same file; both load as the same model', async (family) => {
    const source = await writeModelFolder(at('source'), CONFIGS[family]!);
    await convert(source, at('fused'), { layout: 'fused', maxShardBytes: 9000 });
    const weights = openWeights(at('fused'));
    expect(weights.names.some((name) => /experts\.\d/.test(name))).toBe(false);
    expect(weights.info(GATE).shape).toEqual([inspectFolder(source).experts, 24, 16]);
    expect(weights.files.length).toBeGreaterThan(2);
    weights.close();
    expect(inspectFolder(at('fused')).weights).toMatchObject({ layout: 'fused' });
    await convert(at('fused'), at('back'));
    const bytes = (folder: string) => readFileSync(join(folder, 'model.safetensors'));
    expect(bytes(at('back')).equals(bytes(source))).toBe(true);
    const prints = [source, at('fused')].map((folder) => {
      const store = openModel(folder);
      const roles = (['backbone', 'expert', 'router'] as const).map((role) => fingerprint(store, role));
      store.dispose();
      return roles;
    });
    expect(prints[1]).toEqual(prints[0]);
  });

  it('gate rows come first, expert by expert', async () => {
    const source = await writeModelFolder(at('source'), CONFIGS.qwen2_moe!);
    await convert(source, at('fused'), { layout: 'fused' });
    const [plain, fused] = [tensorsOf(source), tensorsOf(at('fused'))];
    const one = (name: string) => plain.get(`model.layers.1.mlp.experts.${name}.weight`)!;
    const parts = [0, 1, 2, 3].flatMap((e) => [one(`${e}.gate_proj`), one(`${e}.up_proj`)]);
    expect(Buffer.concat(parts).equals(fused.get(GATE)!)).toBe(true);
  });

  it('experts of several types cannot be fused', async () => {
    const source = await writeModelFolder(at('source'), CONFIGS.qwen2_moe!, 'bfloat16');
    await changeTensors(source, (tensors) =>
      tensors.map((tensor) => (tensor.name.includes('experts.2.up') ? { ...tensor, dtype: 'F16' } : tensor)),
    );
    await expect(convert(source, at('fused'), { layout: 'fused' })).rejects.toMatchObject({
      exitStatus: 2,
      found: 'F16',
    });
    expect(readdirSync(root)).toEqual(['source']);
  });
});

describe('types', () => {
  it('are rounded, said in config.json, and exact where nothing is lost', async () => {
    const source = await writeModelFolder(at('source'), CONFIGS.qwen2_moe!, 'bfloat16');
    await convert(source, at('wide'), { dtype: 'F32' });
    expect(readJson(at('wide', 'config.json'))).toMatchObject({ torch_dtype: 'float32' });
    await convert(at('wide'), at('back'), { dtype: 'BF16' });
    expect(tensorsOf(at('back'))).toEqual(tensorsOf(source));
    await convert(at('wide'), at('half'), { dtype: 'F16' });
    expect(inspectFolder(at('half')).weights).toMatchObject({
      bytesByType: { F16: 2 * inspectFolder(source).parameters.total },
    });
  });

  it('a number that is too large is refused, by tensor and element', async () => {
    const source = await writeModelFolder(at('source'), CONFIGS.qwen2_moe!);
    await changeTensors(source, (tensors) =>
      tensors.map((tensor) =>
        tensor.name !== 'model.norm.weight'
          ? tensor
          : {
              ...tensor,
              write: (sink) =>
                tensor.write((bytes) => {
                  const values = valuesOf(bytes);
                  values[11] = 70000;
                  sink(new Uint8Array(values.buffer));
                }),
            },
      ),
    );
    await expect(convert(source, at('half'), { dtype: 'F16' })).rejects.toMatchObject({
      exitStatus: 2,
      key: 'model.norm.weight',
      found: 'element 11',
    });
    expect(readdirSync(root)).toEqual(['source']);
  });
});

describe('what stands beside the weights', () => {
  it('tokenizer, settings and terms are copied; a card names the parent by hash', async () => {
    const source = await writeModelFolder(at('source'), CONFIGS.qwen2_moe!);
    const files = {
      'tokenizer.json': '{"model":{"vocab":{"a":0}}}',
      'tokenizer_config.json': '{"eos_token":"a"}',
      'generation_config.json': '{"temperature":0.5}',
      LICENSE: 'as you like',
      'optimizer.pt': 'x',
      'README.md': 'old',
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(source, name), text);
    await convert(source, at('new'));
    for (const name of [
      'tokenizer.json',
      'tokenizer_config.json',
      'generation_config.json',
      'LICENSE',
    ] as const)
      expect(readFileSync(at('new', name), 'utf8')).toBe(files[name]);
    expect(existsSync(at('new', 'optimizer.pt'))).toBe(false);
    const card = readFileSync(at('new', 'README.md'), 'utf8');
    expect(card).toContain(sha256(readFileSync(join(source, 'model.safetensors'))));
    expect(card).toMatch(/moe-disco \d+\.\d+\.\d+, node /);
    expect(card).toContain('Licence');
  });

  it('a bare tokenizer.json gets the settings that AutoTokenizer needs', async () => {
    const source = await writeModelFolder(at('source'), {
      ...CONFIGS.qwen2_moe,
      eos_token_id: [2, 1],
      bos_token_id: 0,
    });
    writeFileSync(
      join(source, 'tokenizer.json'),
      JSON.stringify({ added_tokens: [{ id: 2, content: '<end>' }], model: { vocab: { a: 0, b: 1 } } }),
    );
    await convert(source, at('new'));
    expect(readJson(at('new', 'tokenizer_config.json'))).toMatchObject({
      bos_token: 'a',
      eos_token: '<end>',
    });
    expect(readJson(at('new', 'generation_config.json'))).toMatchObject({
      bos_token_id: 0,
      eos_token_id: [2, 1],
    });
  });

  it.each(['llama_moe', 'mixtral'])('%s: the Python that transformers lacks', async (family) => {
    const source = await writeModelFolder(at('source'), CONFIGS[family]!);
    await convert(source, at('new'));
    const python = readdirSync(at('new')).filter((name) => name.endsWith('.py'));
    expect(python.length > 0).toBe(family === 'llama_moe');
  });
});

describe('split', () => {
  it.each(Object.keys(CONFIGS))(
    '%s: every submodel is a model, and weighs what inspect has said',
    async (family) => {
      const source = await writeModelFolder(at('source'), CONFIGS[family]!);
      await splitFolder(source, { into: at('parts'), command: 'moe-disco split' }, surroundings());
      const whole = inspectFolder(source);
      expect(whole.kind).toBe('whole');
      expect(readdirSync(at('parts')).sort()).toEqual(
        Array.from({ length: whole.experts }, (_, k) => String(k)),
      );
      for (let k = 0; k < whole.experts; k++) {
        const part = inspectFolder(at('parts', String(k)));
        expect(part.kind).not.toBe('whole');
        expect(part.origin).toEqual({ expert: k, experts: whole.experts, parent: 'source' });
        expect(whole.submodel).toEqual({
          family: part.family,
          parameters: part.parameters.total,
          bytes: part.weights!.bytes,
        });
        openModel(at('parts', String(k))).dispose();
      }
    },
  );

  it('a model without experts has no submodels', async () => {
    const source = await writeModelFolder(at('source'), CONFIGS.llama_moe!);
    await splitFolder(source, { into: at('parts'), command: '' }, surroundings());
    const again = splitFolder(at('parts', '0'), { into: at('again'), command: '' }, surroundings());
    await expect(again).rejects.toMatchObject({ exitStatus: 2, found: 'a dense llama' });
  });
});

describe('inspect', () => {
  it('counts parameters by part and bytes by type, and sees what does not fit', async () => {
    const source = await writeModelFolder(at('source'), CONFIGS.qwen2_moe!, 'bfloat16');
    const found = inspectFolder(source);
    const { total, parts } = found.parameters;
    expect(Object.values(parts).reduce((sum, count) => sum + count, 0)).toBe(total);
    expect(parts).toMatchObject({
      experts: 2 * 4 * 3 * 12 * 16,
      router: 2 * 4 * 16,
      embedding: 960,
      head: 960,
    });
    expect(found.weights).toMatchObject({
      layout: 'per-expert',
      bytes: 2 * total,
      bytesByType: { BF16: 2 * total },
    });
    await changeTensors(source, (tensors) => tensors.slice(1));
    expect(() => inspectFolder(source)).toThrow(
      expect.objectContaining({ exitStatus: 2, key: 'model.embed_tokens.weight' }),
    );
    rmSync(join(source, 'model.safetensors'));
    expect(inspectFolder(source)).toMatchObject({
      weights: null,
      parameters: { total },
      submodel: { bytes: null },
    });
  });
});

/** Split and merge of plain folders, outside any run. */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { convertFolder } from '../../src/convert/convert.js';
import { splitFolder } from '../../src/convert/split.js';
import { readJson } from '../../src/formats/atomic.js';
import { sha256 } from '../../src/formats/hash.js';
import { type FolderMerge, mergeFolders } from '../../src/merge/folders.js';
import { mergeReportSchema } from '../../src/merge/report.js';
import { CONFIGS, surroundings, writeModelFolder } from '../convert/models.js';
import { changeJson, changeTensors, tensorsOf, valuesOf } from '../runs.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();

let root: string;
const at = (...parts: string[]) => join(root, ...parts);
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'folders-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const bytesOf = (folder: string) => readFileSync(join(folder, 'model.safetensors'));
const split = (folder: string, into = at('parts')) =>
  splitFolder(folder, { into, command: 'moe-disco split' }, surroundings());
const partsOf = (into = at('parts')) =>
  readdirSync(into)
    .sort()
    .map((k) => join(into, k));

async function merge(folders: readonly string[], options: Partial<FolderMerge> = {}): Promise<string[]> {
  const { said, ...around } = surroundings();
  const request = {
    folders,
    into: at('merged'),
    command: 'moe-disco merge',
    gamma: 'uniform',
    average: 'plain',
  } as const;
  await mergeFolders({ ...request, ...options }, around);
  return said;
}

/** Adds `amount` to every number of what the submodel shares, as a training would change it. */
const train = (folder: string, amount: number) =>
  changeTensors(folder, (tensors) =>
    tensors.map((tensor) => {
      if (/experts|gate/.test(tensor.name)) return tensor;
      return {
        ...tensor,
        write: (sink) =>
          tensor.write((bytes) => {
            const values = valuesOf(bytes).map((value) => value + amount);
            sink(new Uint8Array(values.buffer));
          }),
      };
    }),
  );

describe('split and merged with no training between', () => {
  it.each(Object.keys(CONFIGS))('%s: the file comes back byte for byte', async (family) => {
    const source = await writeModelFolder(at('source'), CONFIGS[family]!);
    await split(source);
    await merge(partsOf());
    expect(bytesOf(at('merged')).equals(bytesOf(source))).toBe(true);
    expect(readFileSync(at('merged', 'config.json'), 'utf8')).toBe(
      readFileSync(join(source, 'config.json'), 'utf8'),
    );
    const report = readJson(at('merged', 'merge.json'), mergeReportSchema);
    expect(report).toMatchObject({ relativeDrift: 0, barrier: null, average: 'plain' });
    expect(report.parents?.map(({ name }) => name)).toEqual(partsOf().map((_, k) => `parts/${k}`));
    expect(report.parents![1]!.files[0]!.sha256).toBe(sha256(bytesOf(at('parts', '1'))));
  });

  it.each(['bfloat16', 'float64'] as const)('in %s too, and radial', async (dtype) => {
    const source = await writeModelFolder(at('source'), CONFIGS.mixtral!, dtype);
    await split(source);
    await merge(partsOf());
    expect(bytesOf(at('merged')).equals(bytesOf(source))).toBe(true);
    await merge(partsOf(), { into: at('radial'), average: 'radial', original: source });
    expect(bytesOf(at('radial')).equals(bytesOf(source))).toBe(true);
  });

  it('of a foreign folder, fused, sharded and of mixed types: every tensor bit for bit', async () => {
    const plain = await writeModelFolder(at('plain'), CONFIGS.qwen3_moe!, 'bfloat16');
    await changeTensors(plain, (tensors) =>
      tensors.map((tensor) =>
        tensor.name.includes('norm')
          ? {
              ...tensor,
              dtype: 'F32',
              write: (sink) => tensor.write((bytes) => sink(Buffer.concat([bytes, bytes]))),
            }
          : tensor,
      ),
    );
    const options = { into: at('source'), command: '', layout: 'fused', maxShardBytes: 4000 } as const;
    await convertFolder(plain, options, surroundings());
    await split(at('source'));
    await merge(partsOf());
    expect(tensorsOf(at('merged'))).toEqual(tensorsOf(plain));
  });
});

describe('trained submodels', () => {
  let source: string;
  const SHARED = 'model.layers.0.self_attn.q_proj.weight';
  beforeEach(async () => {
    source = await writeModelFolder(at('source'), CONFIGS.qwen2_moe!);
    await split(source);
    for (const [k, folder] of partsOf().entries()) await train(folder, k);
  });
  const shared = (folder: string) => [...valuesOf(tensorsOf(folder).get(SHARED)!)];

  it('are averaged as asked; experts and router stay', async () => {
    const said = await merge(partsOf(), { gamma: [0.5, 0, 0, 0.5] });
    const start = shared(source);
    expect(shared(at('merged'))).toEqual(
      start.map((value) => Math.fround((value + Math.fround(value + 3)) / 2)),
    );
    const [merged, original] = [tensorsOf(at('merged')), tensorsOf(source)];
    for (const [name, bytes] of merged)
      if (/experts|gate/.test(name)) expect(bytes, name).toEqual(original.get(name));
    expect(said.join('\n')).toMatch(/gamma 0\.500, 0\.000, 0\.000, 0\.500; relative drift/);
    expect(said.join('\n')).toContain('begins worse than its parts');
    const radial = { into: at('radial'), average: 'radial' } as const;
    await expect(merge(partsOf(), radial)).rejects.toMatchObject({ exitStatus: 2, key: '--average' });
    await merge(partsOf(), { ...radial, original: source });
    // All changes have one direction: their mean has their mean length.
    shared(at('radial')).forEach((value, i) => {
      expect(value).toBeCloseTo(start[i]! + 1.5, 5);
    });
  });

  it('one alone stands for all', async () => {
    await merge([at('parts', '2')]);
    expect(shared(at('merged'))).toEqual(shared(at('parts', '2')));
    const [merged, only] = [tensorsOf(at('merged')), tensorsOf(at('parts', '2'))];
    for (let e = 0; e < 4; e++) {
      const name = (expert: number) => `model.layers.1.mlp.experts.${expert}.up_proj.weight`;
      expect(merged.get(name(e))).toEqual(only.get(name(0)));
    }
  });

  it('need neither the router that split has added nor its note where the original is at hand', async () => {
    for (const folder of partsOf()) rmSync(join(folder, 'split'), { recursive: true });
    await expect(merge(partsOf())).rejects.toMatchObject({
      exitStatus: 2,
      hint: expect.stringContaining('--original'),
    });
    rmSync(join(source, 'model.safetensors'));
    const said = await merge(partsOf(), { original: source });
    expect(said[0]).toContain('Warning: not every folder says from which weights it began');
    const name = 'model.layers.1.mlp.gate.weight';
    const rows = partsOf().map((folder) => tensorsOf(folder).get(name)!);
    expect(tensorsOf(at('merged')).get(name)).toEqual(new Uint8Array(Buffer.concat(rows)));
  });
});

describe('refuses, and leaves nothing', () => {
  let source: string;
  beforeEach(async () => {
    source = await writeModelFolder(at('source'), CONFIGS.qwen2_moe!);
    await split(source);
  });
  async function refusal(folders: readonly string[], options: Partial<FolderMerge> = {}): Promise<unknown> {
    const error = await merge(folders, options).then(
      () => new Error('it was merged'),
      (thrown: unknown) => thrown,
    );
    expect(existsSync(at('merged'))).toBe(false);
    expect(readdirSync(root).filter((name) => name.includes('.tmp-'))).toEqual([]);
    return error;
  }

  it('folders that are too few, in another order, doubled, or of another model', async () => {
    const [a, b, c, d] = partsOf() as [string, string, string, string];
    expect(await refusal([a, b, c])).toMatchObject({ exitStatus: 2, found: '3' });
    expect(await refusal([a, c, b, d])).toMatchObject({ exitStatus: 2, found: 'parts/2 is expert 2' });
    expect(await refusal([a, b, b, d])).toMatchObject({ exitStatus: 2, found: 'parts/1 is expert 1' });
    const other = await writeModelFolder(at('other'), CONFIGS.qwen2_moe!);
    await train(other, 1);
    await split(other, at('others'));
    expect(await refusal([a, b, at('others', '2'), d])).toMatchObject({
      exitStatus: 2,
      message: expect.stringContaining('no siblings'),
      file: at('others', '2'),
    });
  });

  it('another configuration, another type, a tensor too many, a router row that was changed', async () => {
    const [a, b, c, d] = partsOf() as [string, string, string, string];
    const changed = at('changed');
    const reset = () => {
      rmSync(changed, { recursive: true, force: true });
      cpSync(b, changed, { recursive: true });
    };
    reset();
    changeJson(join(changed, 'config.json'), (json) => {
      json.rms_norm_eps = 0.5;
    });
    expect(await refusal([a, changed, c, d])).toMatchObject({ exitStatus: 2, key: 'rmsNormEps' });
    await convertFolder(b, { into: at('half'), command: '', dtype: 'BF16' }, surroundings());
    cpSync(join(b, 'split'), at('half', 'split'), { recursive: true });
    expect(await refusal([a, at('half'), c, d])).toMatchObject({
      exitStatus: 2,
      expected: 'F32',
      found: 'BF16',
    });
    reset();
    const ROUTER = 'model.layers.0.mlp.gate.weight';
    await changeTensors(changed, (tensors) => [
      ...tensors,
      { name: 'extra', dtype: 'F32', shape: [1], write: (sink) => sink(new Uint8Array(4)) },
    ]);
    expect(await refusal([a, changed, c, d])).toMatchObject({ exitStatus: 2, key: 'extra' });
    reset();
    await changeTensors(changed, (tensors) =>
      tensors.map((tensor) =>
        tensor.name === ROUTER ? { ...tensor, write: (sink) => sink(new Uint8Array(64)) } : tensor,
      ),
    );
    expect(await refusal([a, changed, c, d])).toMatchObject({ exitStatus: 2, key: ROUTER });
  });

  it('weights that nothing is known to weigh by, or that do not sum to 1', async () => {
    expect(await refusal(partsOf(), { gamma: 'samples' })).toMatchObject({ exitStatus: 2, key: '--gamma' });
    expect(await refusal(partsOf(), { gamma: [0.5, 0.5] })).toMatchObject({
      exitStatus: 2,
      key: 'merge.gamma',
    });
  });

  it('a folder that is not empty; a stop', async () => {
    await expect(merge(partsOf(), { into: source })).rejects.toMatchObject({ exitStatus: 2, file: source });
    const around = surroundings();
    around.stop.requested = true;
    const request = {
      folders: partsOf(),
      into: at('merged'),
      command: '',
      gamma: 'uniform',
      average: 'plain',
    } as const;
    await expect(mergeFolders(request, around)).rejects.toMatchObject({ exitStatus: 75 });
    expect(readdirSync(root).sort()).toEqual(['parts', 'source']);
  });
});

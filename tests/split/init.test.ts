/** Initial weights that come from a folder: held equal to the folder's model, whole and split. */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readJson } from '../../src/formats/atomic.js';
import { type ModelConfig, submodelConfig } from '../../src/model/config.js';
import { initialTensor } from '../../src/model/initial-weights.js';
import { openModel } from '../../src/model/open.js';
import type { StageRun } from '../../src/run/context.js';
import { fork, RunFolder } from '../../src/run/folder.js';
import { runStage } from '../../src/run/stage.js';
import { initialise, modelConfigOf } from '../../src/split/stage.js';
import * as torch from '../../src/torch/index.js';
import { relativeError } from '../model/golden.js';
import { expectNoLeaks } from '../torch/leaks.js';
import {
  bytesOf,
  CONFIGS,
  configOf,
  logitsOf,
  runOf,
  startedModel,
  startedStore,
  weightsFile,
  writeModel,
  writeStore,
} from './models.js';

expectNoLeaks();

let root: string;
let runs = 0;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'init-'));
});
afterAll(() => rmSync(root, { recursive: true }));

const place = (): string => join(root, String(runs++));
const model = (config: ModelConfig, seed = 5) => writeModel(place(), config, { seed });

function begin(config: Record<string, unknown>, ...overrides: string[]): ReturnType<typeof runOf> {
  return runOf(place(), config, overrides);
}

/** Values of a tensor of a folder, row by row of its first dimension. */
function rowsOf(store: ReturnType<typeof openModel>, name: string): number[][] {
  return torch.scope(() => {
    const tensor = store.parameter(name);
    const [rows = 1] = tensor.shape;
    const values = tensor.toNumbers();
    const width = values.length / rows;
    return Array.from({ length: rows }, (_, row) => values.slice(row * width, (row + 1) * width));
  });
}

describe('from a folder with the same experts', () => {
  it.each(['float32', 'bfloat16'] as const)(
    'that scratch would have drawn: bit for bit the same start, %s',
    async (dtype) => {
      const precision = ['weights', 'compute', 'gradients', 'moments'].map(
        (key) => `train.precision.${key}=${dtype}`,
      );
      const drawn = begin(CONFIGS.mixtral!, ...precision, 'seed=5');
      const scratch = await initialise(drawn.context);
      const folder = place();
      const store = startedModel(drawn.context);
      const bytes = bytesOf(store);
      await writeStore(folder, store);
      store.dispose();
      const { context } = begin(CONFIGS.mixtral!, ...precision, 'init.from=folder', `init.folder=${folder}`);
      const done = await initialise(context);
      expect(done.hashes).toEqual(scratch.hashes);
      expect(done.key).not.toBe(scratch.key);
      const started = startedModel(context);
      expect(bytesOf(started)).toEqual(bytes);
      started.dispose();
      // init/ is itself a folder that anybody opens.
      const opened = openModel(context.run.path('init'));
      expect(bytesOf(opened)).toEqual(bytes);
      opened.dispose();
    },
  );

  it.each(Object.keys(CONFIGS).slice(0, 4))(
    '%s: whole and split it is the folder, and each submodel needs its own files only',
    async (family) => {
      const folder = await model(configOf(family));
      const { context } = begin(CONFIGS[family]!, 'init.from=folder', `init.folder=${folder}`);
      const done = await initialise(context);
      const source = openModel(folder);
      const started = startedModel(context);
      expect(bytesOf(started)).toEqual(bytesOf(source));
      expect(logitsOf(started)).toEqual(logitsOf(source));
      started.dispose();
      for (const other of [0, 1, 3]) rmSync(context.run.path('init', `expert-${other}.safetensors`));
      const config = modelConfigOf(context.recipe, context.run);
      const submodel = startedStore(context, submodelConfig(config), 2);
      for (const { name, part, role, shape } of submodel.parameters) {
        torch.scope(() => {
          const whole = source.parameters.find(
            (one) => one.part === part && (role !== 'expert' || one.expert === 2),
          )!;
          const values = source.parameter(whole.name).flatten();
          const size = submodel.parameter(name).numel;
          const expected = role === 'router' ? values.narrow(0, 2 * size, size).view([...shape]) : values;
          expect(submodel.parameter(name).bytes(), name).toEqual(expected.bytes());
        });
      }
      submodel.dispose();
      source.dispose();
      expect(() => startedStore(context, submodelConfig(config), 1)).toThrow(
        expect.objectContaining({ exitStatus: 2, file: expect.stringContaining('expert-1.safetensors') }),
      );
      expect(await initialise(context)).toEqual(done);
    },
  );

  it('whose files in init/ have changed is refused', async () => {
    const folder = await model(configOf('qwen2_moe'));
    const { context } = begin(CONFIGS.qwen2_moe!, 'init.from=folder', `init.folder=${folder}`);
    await initialise(context);
    const file = context.run.path('init', 'expert-1.safetensors');
    const bytes = readFileSync(file);
    bytes[bytes.length - 3]! ^= 1;
    writeFileSync(file, bytes);
    const config = modelConfigOf(context.recipe, context.run);
    expect(() => startedStore(context, submodelConfig(config), 1)).toThrow(
      expect.objectContaining({ exitStatus: 2, key: 'expert/1' }),
    );
    startedStore(context, submodelConfig(config), 0).dispose();
  });

  it('is identified by what it holds: elsewhere it is the same, changed it is not, gone it is remembered', async () => {
    const folder = await model(configOf('qwen2_moe'));
    const { context } = begin(CONFIGS.qwen2_moe!, 'init.from=folder', `init.folder=${folder}`);
    const done = await initialise(context);
    const elsewhere = place();
    cpSync(folder, elsewhere, { recursive: true });
    const at = (path: string): StageRun => {
      const init = { ...context.recipe.init, folder: path };
      return { ...context, recipe: { ...context.recipe, init } };
    };
    expect(await initialise(at(elsewhere))).toEqual(done);
    const other = await model(configOf('qwen2_moe'), 6);
    await expect(initialise(at(other))).rejects.toMatchObject({ exitStatus: 2, key: 'input source' });
    rmSync(folder, { recursive: true });
    expect(await initialise(context)).toEqual(done);
    const forked = { ...context, run: fork(context.run, place(), 'format: 1\n') };
    expect(await initialise(forked)).toEqual(done);
    const fresh = begin(CONFIGS.qwen2_moe!, 'init.from=folder', `init.folder=${folder}`);
    await expect(initialise(fresh.context)).rejects.toMatchObject({ exitStatus: 2, key: 'init.folder' });
  });

  it('that is a finished stage of another run, or refers to one, is not read to be identified', async () => {
    const run = RunFolder.create(place(), 'format: 1\n');
    await runStage(
      { run, stage: 'finetuned', reads: null, inputs: {}, command: 'test' },
      async ({ folder }) => {
        await writeModel(folder, configOf('qwen2_moe'));
        return { outputs: ['config.json', 'model.safetensors'], hashes: {} };
      },
    );
    const forked = fork(run, place(), 'format: 1\n');
    await runStage({ run: forked, stage: 'finetuned', reads: null, inputs: {}, command: 'test' }, () => {
      throw new Error('it is there');
    });
    const folder = forked.path('finetuned');
    expect(existsSync(join(folder, 'config.json'))).toBe(false);
    const { context } = begin(CONFIGS.qwen2_moe!, 'init.from=folder', `init.folder=${folder}`);
    await initialise(context);
    const recorded = readJson(context.run.path('init', 'source.json')) as { files: { sha256: string }[] };
    const { outputs } = readJson(run.path('finetuned', 'DONE')) as { outputs: { sha256: string }[] };
    expect(recorded.files.map(({ sha256 }) => sha256)).toEqual(outputs.map(({ sha256 }) => sha256));
    const [started, source] = [startedModel(context), openModel(run.path('finetuned'))];
    expect(bytesOf(started)).toEqual(bytesOf(source));
    for (const store of [started, source]) store.dispose();
  });

  it('stopped on the way leaves nothing that looks complete, and begins anew', async () => {
    const folder = await model(configOf('qwen2_moe'));
    const { context } = begin(CONFIGS.qwen2_moe!, 'init.from=folder', `init.folder=${folder}`);
    let looks = 0;
    const stop = {
      reason: 'SIGTERM',
      get requested() {
        return ++looks > 40;
      },
    };
    await expect(initialise({ ...context, stop })).rejects.toMatchObject({ exitStatus: 75 });
    expect(existsSync(context.run.path('init', 'shared.safetensors'))).toBe(true);
    expect(existsSync(context.run.path('init', 'config.json'))).toBe(false);
    await initialise(context);
    const [started, source] = [startedModel(context), openModel(folder)];
    expect(bytesOf(started)).toEqual(bytesOf(source));
    for (const store of [started, source]) store.dispose();
  });
});

describe('from a folder with more experts', () => {
  const fewer = (family: string, experts: number): Record<string, unknown> => {
    const changes: Record<string, Record<string, unknown>> = {
      mixtral: { num_local_experts: experts },
      llama_moe: { num_experts: experts, intermediate_size: 12 * experts },
    };
    return { ...CONFIGS[family], ...(changes[family] ?? { num_experts: experts }) };
  };

  it.each([
    ['qwen2_moe', 'first', [0, 1]],
    ['mixtral', '[3,1]', [3, 1]],
    ['llama_moe', '[1,2]', [1, 2]],
  ] as const)(
    '%s, %s: those experts with their router rows, all else untouched',
    async (family, experts, chosen) => {
      const folder = await model(configOf(family));
      const { context, said } = begin(
        fewer(family, 2),
        ...['init.from=folder', `init.folder=${folder}`, `init.experts=${experts}`],
        `init.allowChange=${family === 'llama_moe'}`,
      );
      await initialise(context);
      expect(said.join('\n')).toContain('2 of the 4 experts');
      const [source, started] = [openModel(folder), startedModel(context)];
      for (const { name, part, role, expert } of started.parameters) {
        const twin = source.parameters.find(
          (one) => one.part === part && (role !== 'expert' || one.expert === chosen[expert!]),
        )!;
        const rows = rowsOf(source, twin.name);
        const columns = (row: number[]) =>
          part.endsWith('gate_network.2.weight') ? chosen.map((k) => row[k]!) : row;
        const expected = role === 'router' ? chosen.map((k) => columns(rows[k]!)) : rows;
        expect(rowsOf(started, name), name).toEqual(expected);
      }
      for (const store of [started, source]) store.dispose();
      expect(readJson(context.run.path('init', 'experts.json'))).toMatchObject({
        layers: [
          { layer: 0, chosen },
          { layer: 1, chosen },
        ],
      });
    },
  );
});

describe('from a dense model', () => {
  it.each([
    ['qwen2', 'qwen2_moe', {}],
    ['llama', 'mixtral', {}],
    ['llama', 'llama_moe', {}],
    ['llama', 'mixtral', { num_experts_per_tok: 4 }],
    ['qwen2', 'qwen2_moe', { num_experts_per_tok: 1 }],
    ['qwen2', 'qwen2_moe', { num_experts_per_tok: 4, norm_topk_prob: false }],
    ['qwen2', 'qwen2_moe', { mlp_only_layers: [1], intermediate_size: 12 }],
  ])(
    '%s as %s %j computes what the dense model computes, whole and as a submodel',
    async (dense, family, changes) => {
      const folder = await model(configOf(dense));
      const config = { ...CONFIGS[family], ...changes };
      // Biases of Llama's attention would have no place in the new model.
      const { context } = begin(config, 'init.from=dense', `init.folder=${folder}`, 'seed=3');
      await initialise(context);
      const target = modelConfigOf(context.recipe, context.run);
      const stores = [
        openModel(folder),
        startedModel(context),
        startedStore(context, submodelConfig(target), 3),
      ];
      const [expected, ...found] = stores.map(logitsOf);
      for (const logits of found) expect(relativeError(logits, expected!)).toBeLessThan(1e-5);
      torch.scope(() => {
        for (const parameter of stores[1]!.parameters) {
          if (parameter.role !== 'router') continue;
          const drawn = initialTensor(parameter, target, { seed: 3, dtype: 'float32' });
          expect(stores[1]!.parameter(parameter.name).bytes()).toEqual(drawn.bytes());
        }
      });
      for (const store of stores) store.dispose();
    },
  );

  it('with tied tables begins with a head of its own that equals them', async () => {
    const folder = await model(configOf('qwen2', { tie_word_embeddings: true }));
    const { context } = begin(CONFIGS.qwen2_moe!, 'init.from=dense', `init.folder=${folder}`);
    await initialise(context);
    const stores = [openModel(folder), startedModel(context)];
    const [expected, found] = stores.map(logitsOf);
    expect(relativeError(found!, expected!)).toBeLessThan(1e-5);
    for (const store of stores) store.dispose();
  });

  it.each([
    ['first', [0, 0, 0, 0]],
    ['spread', [0, 5, 10, 3]],
  ] as const)('wider than the experts is cut, %s', async (neurons, begins) => {
    const folder = await model(configOf('llama'));
    const config = { ...CONFIGS.mixtral, intermediate_size: 5 };
    const { context, said } = begin(
      config,
      'init.from=dense',
      `init.folder=${folder}`,
      `init.neurons=${neurons}`,
    );
    await initialise(context);
    expect(said.join('\n')).toContain('5 of the 12 neurons');
    const [source, started] = [openModel(folder), startedModel(context)];
    for (const layer of [0, 1]) {
      const dense = (name: string) => rowsOf(source, `model.layers.${layer}.mlp.${name}_proj.weight`);
      begins.forEach((first, k) => {
        const taken = Array.from({ length: 5 }, (_, i) => (first + i) % 12);
        const own = (name: string) =>
          rowsOf(started, `model.layers.${layer}.block_sparse_moe.experts.${k}.${name}.weight`);
        expect(own('w1')).toEqual(taken.map((n) => dense('gate')[n]));
        expect(own('w3')).toEqual(taken.map((n) => dense('up')[n]));
        expect(own('w2')).toEqual(dense('down').map((row) => taken.map((n) => row[n])));
      });
    }
    for (const store of [started, source]) store.dispose();
  });
});

describe('refused, naming what is wrong', () => {
  const cases: [
    what: string,
    source: string,
    sourceChanges: object,
    family: string,
    changes: object,
    init: string[],
    key: string,
  ][] = [
    ['another family', 'mixtral', {}, 'olmoe', {}, [], 'model_type'],
    ['a dense model as it is', 'qwen2', {}, 'qwen2_moe', {}, [], 'model_type'],
    ['no dense model', 'mixtral', {}, 'qwen2_moe', {}, ['init.from=dense'], 'model_type'],
    ['fewer experts', 'qwen2_moe', { num_experts: 3 }, 'qwen2_moe', {}, [], 'num_experts'],
    [
      'no such expert',
      'qwen2_moe',
      {},
      'qwen2_moe',
      { num_experts: 2 },
      ['init.experts=[1,4]'],
      'init.experts',
    ],
    [
      'another width',
      'qwen2_moe',
      {},
      'qwen2_moe',
      { hidden_size: 32 },
      ['init.allowChange=true'],
      'hidden_size',
    ],
    [
      'another number of layers',
      'llama',
      {},
      'mixtral',
      { num_hidden_layers: 3 },
      ['init.from=dense', 'init.allowChange=true'],
      'num_hidden_layers',
    ],
    [
      'tables that are tied here',
      'qwen2_moe',
      {},
      'qwen2_moe',
      { tie_word_embeddings: true },
      ['init.allowChange=true'],
      'tie_word_embeddings',
    ],
    ['another top-k', 'qwen2_moe', {}, 'qwen2_moe', { num_experts_per_tok: 1 }, [], 'num_experts_per_tok'],
    ['another RoPE', 'llama', { rope_theta: 5000 }, 'mixtral', {}, ['init.from=dense'], 'rope_theta'],
    [
      'weights that do not sum to 1',
      'qwen2',
      {},
      'qwen2_moe',
      { norm_topk_prob: false },
      ['init.from=dense'],
      'norm_topk_prob',
    ],
    [
      'a scaled sum',
      'llama',
      {},
      'llama_moe',
      { score_scale_factor: 2 },
      ['init.from=dense'],
      'score_scale_factor',
    ],
    [
      'experts wider than the block',
      'llama',
      {},
      'mixtral',
      { intermediate_size: 13 },
      ['init.from=dense'],
      'model.config.moe_intermediate_size',
    ],
    ['biases that have no place', 'qwen2', {}, 'mixtral', {}, ['init.from=dense'], 'qkv_bias'],
  ];
  it.each(cases)('%s', async (_what, source, sourceChanges, family, changes, init, key) => {
    const folder = await model(configOf(source, sourceChanges as Record<string, unknown>));
    const { context } = begin(
      { ...CONFIGS[family], ...changes },
      'init.from=folder',
      `init.folder=${folder}`,
      ...init,
    );
    await expect(initialise(context)).rejects.toMatchObject({ exitStatus: 2, key });
    expect(existsSync(context.run.path('init', 'DONE'))).toBe(false);
  });

  it('what may differ is said, and allowed where the recipe says so', async () => {
    const folder = await model(configOf('qwen2_moe'));
    const changes = { norm_topk_prob: false, output_router_logits: true, eos_token_id: 3 };
    const { context, said } = begin(
      { ...CONFIGS.qwen2_moe, ...changes },
      ...['init.from=folder', `init.folder=${folder}`, 'init.allowChange=true'],
    );
    await initialise(context);
    expect(said.join('\n')).toMatch(/norm_topk_prob: false in the recipe, true in the folder/);
    expect(said.join('\n')).not.toMatch(/router_logits|eos/);
  });

  it('a tensor too many, too few, a file that is cut off', async () => {
    const folder = await model(configOf('qwen2_moe'));
    const other = await model(configOf('qwen2_moe', { num_hidden_layers: 1 }));
    const go = (path: string) =>
      initialise(begin(CONFIGS.qwen2_moe!, 'init.from=folder', `init.folder=${path}`).context);
    cpSync(weightsFile(other), weightsFile(folder));
    await expect(go(folder)).rejects.toMatchObject({
      exitStatus: 2,
      key: expect.stringContaining('layers.1'),
    });
    writeFileSync(weightsFile(folder), readFileSync(weightsFile(other)).subarray(0, -4));
    await expect(go(folder)).rejects.toMatchObject({
      exitStatus: 2,
      file: expect.stringContaining('model.safetensors'),
    });
    rmSync(weightsFile(folder));
    await expect(go(folder)).rejects.toMatchObject({ exitStatus: 2, file: folder });
  });

  it('the tokenizer of another model', async () => {
    const folder = await model(configOf('qwen2_moe'));
    const tokenizer = join(root, 'tokenizer.json');
    const write = (file: string, ids: Record<string, number>) =>
      writeFileSync(
        file,
        JSON.stringify({ model: { type: 'BPE', vocab: ids, merges: [] }, added_tokens: [] }),
      );
    write(tokenizer, { a: 0, b: 1 });
    const go = (...more: string[]) => {
      const { context, said } = begin(
        CONFIGS.qwen2_moe!,
        ...['init.from=folder', `init.folder=${folder}`, `corpus.tokenizer=${tokenizer}`, ...more],
      );
      return initialise(context).then(() => said.join('\n'));
    };
    expect(await go()).toContain('no tokenizer.json');
    write(join(folder, 'tokenizer.json'), { b: 1, a: 0 });
    expect(await go()).not.toContain('tokenizer');
    write(join(folder, 'tokenizer.json'), { b: 0, a: 1 });
    await expect(go()).rejects.toMatchObject({
      exitStatus: 2,
      key: 'corpus.tokenizer',
      expected: expect.stringContaining('id 0 for "b"'),
    });
    expect(await go('init.allowChange=true')).toContain('they differ in "b"');
  });
});

/** The init stage: a model fixed by its fingerprints, and the submodels that every worker makes of it by itself. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readJson } from '../../src/formats/atomic.js';
import { submodelConfig } from '../../src/model/config.js';
import { fillInitialWeights, initialTensor } from '../../src/model/initial-weights.js';
import { countParameters } from '../../src/model/parameters.js';
import { ParameterStore } from '../../src/model/store.js';
import { fingerprint } from '../../src/model/store-files.js';
import { loadRecipe } from '../../src/recipe/load.js';
import type { Recipe } from '../../src/recipe/schema.js';
import type { StageRun } from '../../src/run/context.js';
import { hashOf } from '../../src/run/done.js';
import { RunFolder } from '../../src/run/folder.js';
import { dtypeOf, initialise, modelConfigOf } from '../../src/split/stage.js';
import * as torch from '../../src/torch/index.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();

const recipeOf = (name: string, overrides: readonly string[] = []): Recipe =>
  loadRecipe(fileURLToPath(new URL(`../../recipes/${name}.yaml`, import.meta.url)), overrides, {
    files: 'ignore',
  }).recipe;

let root: string;
let runs = 0;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'split-'));
});
afterAll(() => rmSync(root, { recursive: true }));

/** The tiny model with `experts` experts; nothing of a corpus is needed. */
function contextOf(experts: number, ...overrides: string[]): StageRun {
  const recipe = recipeOf('tiny', [
    `model.config.num_experts=${experts}`,
    'model.config.vocab_size=64',
    'merge.gamma=uniform',
    ...overrides,
  ]);
  const run = RunFolder.create(join(root, `run-${runs++}`), 'format: 1\n');
  return {
    run,
    recipe,
    reporter: { progress: () => {}, say: () => {} },
    stop: { requested: false, reason: '' },
    device: 'cpu',
  };
}

/** Fingerprints of backbone and expert of submodel k, made as its worker makes it. */
function submodelPrints({ recipe, run }: StageRun, k: number): { shared: string; expert: string } {
  const store = new ParameterStore(submodelConfig(modelConfigOf(recipe, run)), {
    dtype: dtypeOf(recipe),
    training: true,
  });
  fillInitialWeights(store, { seed: recipe.seed, expert: k });
  const prints = { shared: fingerprint(store, 'backbone'), expert: fingerprint(store, 'expert', 0) };
  store.dispose();
  return prints;
}

describe('initialise', () => {
  it.each(['float32', 'bfloat16'])(
    'fixes what every submodel begins from, without a file of weights, %s',
    async (dtype) => {
      const precision = ['weights', 'compute', 'gradients', 'moments'].map(
        (key) => `train.precision.${key}=${dtype}`,
      );
      const context = contextOf(3, ...precision);
      const done = await initialise(context);
      expect(Object.keys(done.hashes).sort()).toEqual([
        'expert/0',
        'expert/1',
        'expert/2',
        'router',
        'shared',
      ]);
      expect(new Set(Object.values(done.hashes)).size).toBe(5);
      for (let k = 0; k < 3; k++)
        expect(submodelPrints(context, k)).toEqual({
          shared: hashOf(done, 'shared'),
          expert: hashOf(done, `expert/${k}`),
        });
      const folder = context.run.path('init');
      expect(readdirSync(folder).some((name) => name.endsWith('.safetensors'))).toBe(false);
      expect(readJson(join(folder, 'config.json'))).toMatchObject({ num_experts: 3, torch_dtype: dtype });
      expect(readJson(join(folder, 'fingerprints.json'))).toEqual({
        format: 1,
        seed: 0,
        dtype,
        ...done.hashes,
      });
      const { total } = countParameters(modelConfigOf(context.recipe, context.run));
      expect(done.summary).toMatchObject({ parameters: { total } });
      expect(await initialise(context)).toEqual(done);
    },
  );

  it('depends on the seed, and for backbone and expert k on nothing of the other experts', async () => {
    const three = await initialise(contextOf(3));
    const two = await initialise(contextOf(2));
    for (const name of ['shared', 'expert/0', 'expert/1'])
      expect(hashOf(two, name)).toBe(hashOf(three, name));
    expect(hashOf(two, 'router')).not.toBe(hashOf(three, 'router'));
    const other = await initialise(contextOf(3, 'seed=1'));
    for (const name of Object.keys(three.hashes)) expect(hashOf(other, name)).not.toBe(hashOf(three, name));
  });

  it('one parameter by itself is that of the whole model', () => {
    const { recipe, run } = contextOf(3);
    const config = modelConfigOf(recipe, run);
    const store = new ParameterStore(config);
    fillInitialWeights(store, { seed: recipe.seed });
    for (const parameter of store.parameters) {
      torch.scope(() => {
        const alone = initialTensor(parameter, config, { seed: recipe.seed, dtype: 'float32' });
        const whole = store.parameter(parameter.name).bytes();
        expect(Buffer.compare(alone.bytes(), whole), parameter.name).toBe(0);
      });
    }
    store.dispose();
  });
});

describe('the recipe', () => {
  it("has the paper's Qwen to the digit, whole and split, without allocating it", () => {
    for (const name of ['c4', 'wikitext2', 'openwebtext']) {
      const recipe = recipeOf(`paper-qwen-${name}`);
      const config = modelConfigOf(recipe, new RunFolder(root));
      expect(countParameters(config)).toMatchObject({ total: 2_686_420_992, active: 2_686_420_992 });
      const { total, router, trained } = countParameters(submodelConfig(config));
      expect([total, total - router, trained]).toEqual([2_063_419_392, 2_063_370_240, 2_063_370_240]);
    }
  });

  it('with a precision or a model that cannot be trained is refused by key', async () => {
    const { recipe, run } = contextOf(3);
    const precision = { ...recipe.train.precision, moments: 'bfloat16' as const };
    const mixed = { ...recipe, train: { ...recipe.train, precision } };
    expect(() => dtypeOf(mixed)).toThrow(expect.objectContaining({ exitStatus: 2, key: 'train.precision' }));
    const odd = { ...recipe, model: { config: { ...recipe.model.config, hidden_act: 'gelu' } } };
    expect(() => modelConfigOf(odd, run)).toThrow(
      expect.objectContaining({ exitStatus: 2, key: 'hidden_act' }),
    );
  });
});

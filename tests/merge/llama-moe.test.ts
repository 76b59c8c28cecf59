/** A LLaMA-MoE split into plain Llamas, trained, merged and fine-tuned: the real stages of a small run. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readJson } from '../../src/formats/atomic.js';
import { mergeSubmodels } from '../../src/merge/stage.js';
import { fillInitialWeights } from '../../src/model/initial-weights.js';
import { ParameterStore } from '../../src/model/store.js';
import { partitionCorpus } from '../../src/partition/stage.js';
import type { StageRun } from '../../src/run/context.js';
import { initialise, modelConfigOf } from '../../src/split/stage.js';
import * as torch from '../../src/torch/index.js';
import { fineTune, trainSubmodel } from '../../src/train/stage.js';
import { trainingSummaryOf } from '../../src/train/summary.js';
import { familyJson } from '../model/fixtures.js';
import { runOnCorpus, tensorsOf } from '../runs.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();

const E = 3;
let root: string;
let context: StageRun;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'llama-moe-'));
  const words = 'the song of a river and the bridge in a valley'.split(' ');
  const line = (seed: number) =>
    Array.from({ length: 9 + (seed % 7) }, (_, i) => words[(i * seed) % 10]).join(' ');
  const write = (name: string, text: string) => {
    writeFileSync(join(root, name), text);
    return join(root, name);
  };
  const lines = Array.from({ length: 40 }, (_, i) => line(i + 1));
  const json = { ...familyJson.llama_moe, vocab_size: 4096, num_experts: E, intermediate_size: 24 };
  const files = {
    train: write('train.txt', lines.slice(8).join('\n')),
    held: write('held.txt', lines.slice(0, 8).join('\n')),
  };
  const started = await runOnCorpus(join(root, 'run'), files, [
    `model.config=${write('config.json', JSON.stringify(json))}`,
    'corpus.sequenceLength=16',
    'train.submodels.steps=2',
    'train.finetune.steps=2',
  ]);
  context = started.context;
  await partitionCorpus(context);
  await initialise(context);
  for (let k = 0; k < E; k++) await trainSubmodel(context, k);
  await mergeSubmodels(context);
}, 60_000);
afterAll(() => rmSync(root, { recursive: true }));

describe('a LLaMA-MoE', () => {
  it('is trained as plain Llamas', () => {
    const folder = context.run.path('submodels', '1');
    expect(readJson(join(folder, 'config.json'))).toMatchObject({
      model_type: 'llama',
      intermediate_size: 8,
    });
    expect(existsSync(join(folder, 'modeling_llama_moe.py'))).toBe(false);
    const names = [...tensorsOf(folder).keys()];
    expect(names).toContain('model.layers.1.mlp.up_proj.weight');
    expect(names.some((name) => name.includes('gate_network'))).toBe(false);
  });

  it('has the experts of its submodels, and the whole gate as it was initialised', () => {
    const folder = context.run.path('merged');
    const merged = tensorsOf(folder);
    for (let k = 0; k < E; k++) {
      const own = tensorsOf(context.run.path('submodels', String(k)));
      for (const part of ['gate', 'up', 'down']) {
        const expert = merged.get(`model.layers.1.mlp.calculator.experts.weight_${part}.${k}`)!;
        expect(Buffer.compare(expert, own.get(`model.layers.1.mlp.${part}_proj.weight`)!)).toBe(0);
      }
    }
    const store = new ParameterStore(modelConfigOf(context.recipe, context.run));
    fillInitialWeights(store, { seed: context.recipe.seed });
    const routers = store.parameters.filter(({ role }) => role === 'router');
    expect(routers).toHaveLength(2 * 3);
    for (const { name } of routers) {
      const bytes = torch.scope(() => store.parameter(name).bytes());
      expect(Buffer.compare(merged.get(name)!, bytes), name).toBe(0);
    }
    store.dispose();
    expect(existsSync(join(folder, 'modeling_llama_moe.py'))).toBe(true);
    expect(readJson(join(folder, 'config.json'))).toMatchObject({
      auto_map: { AutoModelForCausalLM: 'modeling_llama_moe.LlamaMoEForCausalLM' },
    });
  });

  it('is fine-tuned, its gate included', async () => {
    const done = await fineTune(context);
    expect(trainingSummaryOf(done).steps).toBe(2);
    const name = 'model.layers.0.mlp.gate.gate_network.2.weight';
    const [before, after] = ['merged', 'finetuned'].map(
      (stage) => tensorsOf(context.run.path(stage)).get(name)!,
    );
    expect(Buffer.compare(before!, after!)).not.toBe(0);
  });
});

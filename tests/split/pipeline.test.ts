/** Runs that start from a folder: the experts most used on their corpus, and nothing lost from folder to merge. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { BatchSource } from '../../src/corpus/batches.js';
import { endTokenOf, openSplit } from '../../src/corpus/stage.js';
import { readJson } from '../../src/formats/atomic.js';
import { sha256 } from '../../src/formats/hash.js';
import { mergeSubmodels } from '../../src/merge/stage.js';
import { toDevice } from '../../src/model/batch.js';
import { parseModelConfig } from '../../src/model/config.js';
import { Decoder } from '../../src/model/decoder.js';
import { openModel } from '../../src/model/open.js';
import type { StageRun } from '../../src/run/context.js';
import { requireDone } from '../../src/run/require.js';
import { modelConfigOf } from '../../src/split/stage.js';
import * as torch from '../../src/torch/index.js';
import { trainSubmodel } from '../../src/train/stage.js';
import { smallRun, tensorsOf, withMerge, withTraining } from '../runs.js';
import { expectNoLeaks } from '../torch/leaks.js';
import { bytesOf, hashed, startedModel, weightsFile, writeModel } from './models.js';

expectNoLeaks();

let root: string;
let made = 0;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'init-pipeline-'));
});
afterAll(() => rmSync(root, { recursive: true }));

const place = (): string => join(root, String(made++));

/** config.json of the model that smallRun trains, with changes. */
const config = (changes: Record<string, unknown>) =>
  parseModelConfig(
    {
      ...{ model_type: 'qwen2_moe', vocab_size: 4096, hidden_size: 16, num_hidden_layers: 2 },
      ...{ num_attention_heads: 4, num_key_value_heads: 2, intermediate_size: 32 },
      ...{ moe_intermediate_size: 8, shared_expert_intermediate_size: 8, num_experts: 3 },
      ...{ num_experts_per_tok: 1, output_router_logits: true, max_position_embeddings: 128 },
      ...{ bos_token_id: 0, eos_token_id: 0, initializer_range: 0.3, ...changes },
    },
    'config.json',
  );

/** Tokens of the sample that each expert of each layer is chosen for, from what the routers see and their rows. */
function independentCounts(folder: string, { run, recipe }: StageRun, rowCount: number): number[][] {
  const store = openModel(folder);
  const documents = openSplit({ run, recipe }, 'train');
  const source = new BatchSource({
    ...{ store: documents, documents: null, batch: recipe.corpus.batch, seed: recipe.seed },
    ...{ sequenceLength: recipe.corpus.sequenceLength, batchSize: rowCount },
    eos: endTokenOf(requireDone(run, 'corpus')),
  });
  const { hiddenSize, numExperts, numExpertsPerTok } = store.config;
  const counts = torch.scope(() =>
    torch.noGrad(() => {
      const batch = toDevice(source.batch(0), 'cpu');
      const { routerInputs } = new Decoder(store).forward(batch, { collectRouterInputs: true });
      return routerInputs.map((input, layer) => {
        const rows = store.parameter(`model.layers.${layer}.mlp.gate.weight`).toNumbers();
        const count = new Array<number>(numExperts).fill(0);
        const seen = input.toNumbers();
        for (let token = 0; token < seen.length; token += hiddenSize) {
          const scores = count.map((_, expert) => {
            let sum = 0;
            for (let h = 0; h < hiddenSize; h++) sum += seen[token + h]! * rows[expert * hiddenSize + h]!;
            return [sum, expert] as const;
          });
          for (const [, expert] of scores.sort((a, b) => b[0] - a[0]).slice(0, numExpertsPerTok))
            count[expert]!++;
        }
        return count;
      });
    }),
  );
  documents.close();
  store.dispose();
  return counts;
}

it.each(['packed', 'padded'])(
  'the experts most used on a sample of the corpus are those that a count by hand says, %s',
  async (batch) => {
    const folder = await writeModel(
      place(),
      config({ num_experts: 6, num_experts_per_tok: 2, mlp_only_layers: [] }),
      { seed: 3 },
    );
    const { context } = await smallRun(place(), [
      ...['init.from=folder', `init.folder=${folder}`, 'init.experts=mostUsed', 'init.sampleTokens=200'],
      ...['model.config.num_experts_per_tok=2', 'model.config.norm_topk_prob=false', `corpus.batch=${batch}`],
    ]);
    const choice = readJson(context.run.path('init', 'experts.json')) as {
      sample: { rows: number; tokens: number };
      layers: { layer: number; counts: number[]; chosen: number[] }[];
    };
    // 13 rows of 16 tokens hold 200.
    expect(choice.sample.rows).toBe(13);
    expect(choice.layers.map(({ layer }) => layer)).toEqual([0, 1]);
    if (batch === 'packed')
      expect(choice.layers.map(({ counts }) => counts)).toEqual(independentCounts(folder, context, 13));
    const source = openModel(folder);
    const started = startedModel(context);
    for (const { layer, counts, chosen } of choice.layers) {
      expect(counts.reduce((a, b) => a + b, 0)).toBe(2 * choice.sample.tokens);
      const least = Math.min(...chosen.map((expert) => counts[expert]!));
      counts.forEach((count, expert) => {
        if (!chosen.includes(expert)) expect(count).toBeLessThanOrEqual(least);
      });
      expect(chosen).toEqual([...chosen].sort((a, b) => a - b));
      chosen.forEach((expert, k) => {
        const name = (number: number) => `model.layers.${layer}.mlp.experts.${number}.down_proj.weight`;
        torch.scope(() =>
          expect(started.parameter(name(k)).bytes()).toEqual(source.parameter(name(expert)).bytes()),
        );
      });
    }
    for (const store of [source, started]) store.dispose();
  },
);

it.each(['plain', 'radial'] as const)(
  'split and merged with nothing trained between, the folder is what it was: byte for byte, %s',
  async (average) => {
    const folder = await writeModel(place(), config({ initializer_range: 0.02, hidden_act: 'silu' }), {
      seed: 4,
    });
    const { context } = await smallRun(place(), [
      'init.from=folder',
      `init.folder=${folder}`,
      'merge.gamma=uniform',
    ]);
    const untrained = withTraining(withMerge(context, { average }), { steps: 0 });
    for (let k = 0; k < 3; k++) await trainSubmodel(untrained, k);
    await mergeSubmodels(untrained);
    expect(hashed(tensorsOf(context.run.path('merged')))).toEqual(hashed(tensorsOf(folder)));
    const file = (where: string) => sha256(readFileSync(weightsFile(where)));
    expect(file(context.run.path('merged'))).toBe(file(folder));
  },
);

it('a second round starts from what another run has merged, told apart by the tokens it was read with', async () => {
  const first = withTraining((await smallRun(place(), ['merge.gamma=uniform'])).context, { steps: 1 });
  for (let k = 0; k < 3; k++) await trainSubmodel(first, k);
  await mergeSubmodels(first);
  const folder = first.run.path('merged');
  const { context, said } = await smallRun(place(), ['init.from=folder', `init.folder=${folder}`]);
  expect(said.join('\n')).not.toContain('Warning');
  const [started, merged] = [startedModel(context), openModel(folder)];
  expect(hashed(bytesOf(started))).toEqual(hashed(bytesOf(merged)));
  for (const store of [started, merged]) store.dispose();
  expect(modelConfigOf(context.recipe, context.run)).toEqual(modelConfigOf(first.recipe, first.run));
});

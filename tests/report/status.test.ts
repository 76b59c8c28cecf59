import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { trainingFlops } from '../../src/cost/flops.js';
import { StoppedError } from '../../src/errors.js';
import { parseModelConfig } from '../../src/model/config.js';
import { loadRecipe, toYaml } from '../../src/recipe/load.js';
import { toText } from '../../src/report/layout.js';
import { runProgress, statusSections } from '../../src/report/status.js';
import { RunFolder } from '../../src/run/folder.js';
import { runStage } from '../../src/run/stage.js';

const root = mkdtempSync(join(tmpdir(), 'disco-status-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

// Dollars are seconds: 3,600 an hour.
const tiny = fileURLToPath(new URL('../../recipes/tiny.yaml', import.meta.url));
const { recipe } = loadRecipe(tiny, ['cost.machineDollarsPerHour=3600']);

/** A run whose stage `stage` has done `steps` steps of `secondsPerStep` each and was then stopped. */
async function stopped(
  name: string,
  stage: string,
  steps: number,
  secondsPerStep: number,
): Promise<RunFolder> {
  const run = RunFolder.create(join(root, name), toYaml(recipe));
  const lines = Array.from({ length: steps }, (_, i) => ({
    step: i + 1,
    loss: 10 - i / 10,
    tokens: (i + 1) * 128,
    seconds: (i + 1) * secondsPerStep,
  }));
  const held = { step: steps, heldOutLoss: 7.25 };
  await runStage(
    { run, stage, reads: null, inputs: {}, command: 'test' },
    async ({ path, ledger, folder }) => {
      mkdirSync(folder, { recursive: true });
      writeFileSync(
        path('metrics.jsonl'),
        [...lines, held].map((line) => `${JSON.stringify(line)}\n`).join(''),
      );
      ledger.append({ seconds: 100 });
      throw new StoppedError('stopped');
    },
  ).catch(() => {});
  return run;
}

describe('the status of a run', () => {
  it('that has not begun is all waiting', () => {
    const run = RunFolder.create(join(root, 'new'), toYaml(recipe));
    const { stages, dollars, expectedDollars } = runProgress(run, recipe);
    expect(stages.map(({ stage }) => stage)).toEqual([
      ...['corpus', 'partition', 'init', 'submodels/0', 'submodels/1', 'merged', 'finetuned', 'baseline'],
      ...['evaluation', 'comparison'],
    ]);
    expect(new Set(stages.map(({ state }) => state))).toEqual(new Set(['waiting']));
    expect([dollars, expectedDollars]).toEqual([0, null]);
  });

  it('tells steps, loss, speed and time left of a training, and expects the rest at its speed', async () => {
    const run = await stopped('part', 'baseline', 12, 2);
    const progress = runProgress(run, recipe);
    const baseline = progress.stages.find(({ stage }) => stage === 'baseline')!;
    expect(baseline).toMatchObject({
      ...{ state: 'unfinished', attempts: 1, holder: null, refersTo: null, step: 12, steps: 30 },
      ...{ heldOutLoss: 7.25, tokensPerSecond: 64, secondsLeft: 36, seconds: 100, dollars: 100 },
    });
    expect(baseline.loss).toBeCloseTo((10 + 8.9) / 2, 12);
    const config = parseModelConfig(recipe.model.config, 'tiny.yaml');
    const single = parseModelConfig(
      { ...recipe.model.config, num_experts: 1, num_experts_per_tok: 1 },
      'tiny.yaml',
    );
    const flops = (model: typeof config) =>
      trainingFlops(model, { steps: 1, batchSize: 4, sequenceLength: 32 });
    // Two submodels and fine-tuning, 20 steps each, are to come; 2 s are a step of the whole model.
    const expected = 100 + 36 + 2 * 20 + ((2 * 20 * flops(single)) / flops(config)) * 2;
    expect(progress.expectedDollars).toBeCloseTo(expected, 9);
  });

  it('is a table with a line for every stage', async () => {
    const run = await stopped('table', 'finetuned', 5, 1);
    const text = toText(statusSections(runProgress(run, recipe)), false);
    const line = text.split('\n').find((one) => one.includes('finetuned'))!;
    expect(line.trim().split(/\s{2,}/)).toEqual([
      ...[
        'finetuned',
        'stopped, attempt 1',
        '5/20',
        '9.800',
        '7.250',
        '128',
        '15 s',
        '1 min 40 s',
        '$100.00',
      ],
    ]);
    expect(text).toContain('So far $100.00, about $');
    expect(Math.max(...text.split('\n').map((one) => one.length))).toBeLessThanOrEqual(100);
  });
});

/** A finished run folder with made-up but consistent numbers, written through the real stage protocol. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DocumentLoss, Evaluation } from '../../src/evaluate/types.js';
import { loadRecipe, toYaml } from '../../src/recipe/load.js';
import { RunFolder } from '../../src/run/folder.js';
import { runStage } from '../../src/run/stage.js';

// Those that the tests' figures were worked out with, whatever the demo takes.
const STEPS = [
  'train.submodels.steps=700',
  'train.finetune.steps=700',
  'train.baseline.steps=2000',
  'train.evaluateEvery=50',
];
const recipes = new URL('../../recipes/', import.meta.url).pathname;

/** How good the fine-tuned model of the fixture is. */
export interface Shape {
  overrides?: string[];
  /** Final validation loss of fine-tuning and of the baseline. */
  finetuned: number;
  baseline: number;
  /** Seconds of each submodel, of fine-tuning and of the baseline. */
  seconds: { submodel: number; finetune: number; baseline: number };
}

/** A curve that falls from `from` to `to` over `steps` steps, flat at its end. */
function metrics(from: number, to: number, steps: number, every: number): string {
  const at = (step: number) => to + (from - to) * (1 - step / steps) ** 2;
  const lines: object[] = [];
  for (let step = 1; step <= steps; step++) {
    lines.push({ step, loss: at(step) - 0.1, tokens: step * 1024, seconds: step * 0.1, learningRate: 1e-3 });
    if (step % every === 0) lines.push({ step, heldOutLoss: at(step) });
  }
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

/** 60 documents with a mean loss of `loss`; the same noise for every model but a small part of its own. */
function documents(loss: number, own: number): DocumentLoss[] {
  return Array.from({ length: 60 }, (_, i) => {
    const tokens = 200 + 37 * (i % 11);
    return [tokens * (loss + 0.4 * Math.sin(i) + 0.02 * Math.sin(own * i)), tokens];
  });
}

function summary(list: DocumentLoss[]) {
  const tokens = list.reduce((sum, [, n]) => sum + n, 0);
  const loss = list.reduce((sum, [nats]) => sum + nats, 0) / tokens;
  return { loss, perplexity: Math.exp(loss), tokens };
}

/** Writes the run and returns it. */
export async function makeRun(root: string, shape: Shape): Promise<RunFolder> {
  const { recipe } = loadRecipe(`${recipes}demo.yaml`, [...STEPS, ...(shape.overrides ?? [])]);
  const run = RunFolder.create(root, toYaml(recipe));
  const experts = recipe.model.config.num_experts as number;
  const stage = async (name: string, seconds: number, files: Record<string, string>) => {
    await runStage(
      { run, stage: name, reads: null, inputs: {}, command: 'test' },
      async ({ path, ledger, folder }) => {
        mkdirSync(folder, { recursive: true });
        for (const [file, text] of Object.entries(files)) writeFileSync(path(file), text);
        ledger.append({ seconds, steps: 0 });
        return { outputs: Object.keys(files), hashes: { weights: `${name} ${shape.finetuned}` } };
      },
    );
    // The protocol's last entry holds the seconds that really passed: put those of the fixture in their place.
    const entry = {
      format: 1,
      stage: name,
      attempt: 1,
      device: 'cpu',
      at: '2026-01-01T00:00:00Z',
      totals: { seconds: seconds + 7, evaluateSeconds: 7 },
    };
    writeFileSync(join(run.stageFolder(name), 'ledger.jsonl'), `${JSON.stringify(entry)}\n`);
  };
  const { seed, submodels, finetune, baseline, evaluateEvery: every } = recipe.train;
  await stage('partition', 4, {});
  if (seed.steps > 0) await stage('seed', 30, { 'metrics.jsonl': metrics(8.3, 7, seed.steps, every) });
  for (let k = 0; k < experts; k++) {
    await stage(`submodels/${k}`, shape.seconds.submodel, {
      'metrics.jsonl': metrics(8.3, 4.6 + 0.1 * k, submodels.steps!, every),
    });
  }
  await stage('merged', 1, {});
  await stage('finetuned', shape.seconds.finetune, {
    'metrics.jsonl': metrics(5.2, shape.finetuned, finetune.steps, every),
  });
  await stage('baseline', shape.seconds.baseline, {
    'metrics.jsonl': metrics(8.3, shape.baseline, baseline.steps, every),
  });
  const finetuned = documents(shape.finetuned, 1);
  const full = documents(shape.baseline, 2);
  const both = { finetuned, baseline: full };
  const validation = (loss: number) => ({ validation: summary(documents(loss, 3)) });
  const evaluation: Evaluation = {
    format: 1,
    models: {
      ...Object.fromEntries(
        Array.from({ length: experts }, (_, k) => [`submodels/${k}`, validation(5.1 + 0.1 * k)]),
      ),
      merged: validation(5.3),
      finetuned: { validation: summary(finetuned) },
      baseline: { validation: summary(full) },
    },
    test: { finetuned: summary(finetuned), baseline: summary(full) },
    bigram: validation(4.21),
    perDocument: { validation: both, test: both },
  };
  await stage('evaluation', 9, { 'evaluation.json': JSON.stringify(evaluation) });
  return run;
}

/**
 * `npm run evidence`: the grid of horizons for both ways and every rival, three paired seeds, at the demo's size;
 * docs/evidence.md is written from what was measured. Resumable: what is done is not done again. Cells run side by
 * side, one thread each, as many as there are cores (--lanes).
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { trainingFlops } from '../src/cost/flops.js';
import { forkRun, makeRun, openRun } from '../src/launch/run-recipe.js';
import { parseModelConfig, submodelConfig } from '../src/model/config.js';
import { readClusters } from '../src/partition/report.js';
import { readCurve } from '../src/report/curves.js';
import {
  BASELINE_HORIZONS,
  type Cell,
  cellsOf,
  EXPERTS,
  type Facts,
  FINETUNE_HORIZONS,
  LEARNING_RATES,
  REFERENCE,
  SEEDS,
  stagesOf,
  sweepName,
} from './evidence-cells.js';
import { evidenceMarkdown, type SeedResult } from './evidence-report.js';

const { values } = parseArgs({
  options: {
    into: { type: 'string', default: 'runs/evidence' },
    lanes: { type: 'string', default: String(availableParallelism()) },
    seeds: { type: 'string', default: SEEDS.join(',') },
  },
});
const ROOT = resolve(values.into);
const seeds = values.seeds.split(',').map(Number);
const say = (text: string): void => console.log(`${new Date().toTimeString().slice(0, 8)} ${text}`);

const PAGE = 'docs/evidence.md';

interface Task {
  name: string;
  folder: string;
  model: string;
  stages: string[];
  after: string[];
}

/** Runs one task in a process of its own. */
function start(task: Task): Promise<void> {
  return new Promise((done, failed) => {
    const child = spawn(
      process.execPath,
      [
        '--import',
        'tsx',
        join(import.meta.dirname, 'evidence-cell.ts'),
        task.folder,
        task.model,
        ...task.stages,
      ],
      {
        env: { ...process.env, OMP_NUM_THREADS: '1' },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    let text = '';
    child.stderr.on('data', (chunk: Buffer) => {
      text = (text + chunk.toString()).slice(-4000);
    });
    child.on('exit', (status) => {
      if (status === 0) done();
      else failed(new Error(`${task.name} ended with ${status}:\n${text}`));
    });
  });
}

/** Runs tasks in lanes, each after those it names. */
async function runAll(tasks: readonly Task[], afterEach: () => void = () => {}): Promise<void> {
  const finished = new Set<string>();
  const waiting = [...tasks];
  const lane = async (): Promise<void> => {
    for (;;) {
      const index = waiting.findIndex((task) => task.after.every((name) => finished.has(name)));
      if (index < 0) {
        if (waiting.length === 0) return;
        await new Promise((again) => setTimeout(again, 500));
        continue;
      }
      const [task] = waiting.splice(index, 1);
      const began = performance.now();
      await start(task!);
      finished.add(task!.name);
      say(`${task!.name}: ${((performance.now() - began) / 1000).toFixed(0)} s`);
      afterEach();
    }
  };
  await Promise.all(Array.from({ length: Number(values.lanes) }, lane));
}

const seedFolder = (seed: number): string => join(ROOT, `seed-${seed}`);
const demoFolder = (seed: number): string => join(seedFolder(seed), 'demo');

/** A fork of the seed's demo, or of a run that shares more with it, made once. */
function fork(seed: number, name: string, overrides: readonly string[], from = demoFolder(seed)): string {
  const folder = join(seedFolder(seed), name);
  if (!existsSync(join(folder, 'recipe.yaml'))) forkRun(from, folder, overrides);
  return folder;
}

/** Where a cell's stages may have been done already: the cell it comes after, or the sweep. */
function parentOf(seed: number, cell: Cell): string {
  const [first] = cell.after;
  const parent = join(seedFolder(seed), first ?? cell.sweep ?? 'demo');
  return existsSync(parent) ? parent : demoFolder(seed);
}

/** The demo run of a seed with corpus, partition and init done; the corpus is shared by all seeds. */
async function prepare(seed: number): Promise<void> {
  mkdirSync(seedFolder(seed), { recursive: true });
  const folder = demoFolder(seed);
  if (!existsSync(join(folder, 'recipe.yaml'))) {
    if (seed === seeds[0]) makeRun({ recipe: 'demo', into: folder, overrides: [`seed=${seed}`] }, say);
    else forkRun(demoFolder(seeds[0]!), folder, [`seed=${seed}`]);
  }
  const stages = ['corpus', 'partition', 'init'];
  await runAll([{ name: `seed ${seed}, prepare`, folder, model: 'none', stages, after: [] }]);
}

/** Final held-out loss of every learning rate at every baseline horizon, on the first seed. */
async function sweep(): Promise<Map<number, Map<number, number>>> {
  const seed = seeds[0]!;
  const tasks: Task[] = [];
  const folders: [number, number, string][] = [];
  for (const horizon of BASELINE_HORIZONS) {
    for (const rate of LEARNING_RATES) {
      const folder = fork(seed, sweepName(horizon, rate), [
        `train.baseline.steps=${horizon}`,
        `train.baseline.learningRate=${rate}`,
      ]);
      folders.push([horizon, rate, folder]);
      const stages = ['corpus', 'partition', 'init', 'baseline'];
      tasks.push({ name: `sweep, ${horizon} steps at ${rate}`, folder, model: 'none', stages, after: [] });
    }
  }
  await runAll(tasks);
  const table = new Map<number, Map<number, number>>();
  for (const [horizon, rate, folder] of folders) {
    const curve = readCurve(openRun(folder).run.stage('baseline').path('metrics.jsonl'));
    table.set(horizon, (table.get(horizon) ?? new Map()).set(rate, curve.heldOut.at(-1)!.loss));
  }
  return table;
}

/** What cells of one seed depend on. */
function factsOf(seed: number, table: Map<number, Map<number, number>>): Facts {
  const { run, recipe } = openRun(demoFolder(seed));
  const { train, corpus } = recipe;
  const config = parseModelConfig(recipe.model.config, run.recipeFile);
  const rows = { batchSize: train.batchSize, sequenceLength: corpus.sequenceLength };
  const submodelSteps = train.submodels.steps!;
  const [finetuneSteps = 0] = FINETUNE_HORIZONS;
  const disco =
    EXPERTS * trainingFlops(submodelConfig(config), { ...rows, steps: submodelSteps }) +
    trainingFlops(config, { ...rows, steps: finetuneSteps });
  const clusters = readClusters(run.stageFolder('partition')).clusters;
  const largest = clusters.reduce((a, b) => (b.tokens > a.tokens ? b : a));
  return {
    submodelSteps,
    equalFlopsSteps: Math.round(disco / trainingFlops(config, { ...rows, steps: 1 })),
    largestCluster: largest.cluster,
    learningRate: (horizon) => {
      // The nearest horizon of the sweep.
      const nearest = [...table.keys()].reduce((a, b) =>
        Math.abs(b - horizon) < Math.abs(a - horizon) ? b : a,
      );
      return [...table.get(nearest)!].reduce((a, b) => (b[1] < a[1] ? b : a))[0];
    },
  };
}

const measuredSchema = z.strictObject({
  format: z.literal(1),
  loss: z.number(),
  documents: z.array(z.tuple([z.number(), z.number()])),
  trainSeconds: z.number(),
  tokens: z.number(),
  flops: z.number(),
});

function resultOf(seed: number, cells: readonly Cell[]): SeedResult {
  return {
    seed,
    cells: cells.flatMap((cell) => {
      const folder = join(seedFolder(seed), cell.name);
      const file = join(folder, `measured-${cell.model}.json`);
      if (!existsSync(file)) return [];
      const measured = measuredSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
      const { run } = openRun(folder);
      return [{ cell, ...measured, curve: readCurve(run.stage(cell.model).path('metrics.jsonl')) }];
    }),
  };
}

async function main(): Promise<void> {
  await prepare(seeds[0]!);
  const table = await sweep();
  const finished: SeedResult[] = [];
  for (const seed of seeds) {
    await prepare(seed);
    const cells = cellsOf(factsOf(seed, table));
    const { submodelSteps } = factsOf(seed, table);
    const write = (): void => {
      // A seed joins the table when it is complete; the first one fills it from the start.
      const now = resultOf(seed, cells);
      const joins = finished.length === 0 || now.cells.length === cells.length;
      const results = joins ? [...finished, now] : finished;
      if (!results.every((result) => result.cells.some(({ cell }) => cell.name === REFERENCE))) return;
      writeFileSync(PAGE, evidenceMarkdown(results, table, { seeds, cells: cells.length, submodelSteps }));
    };
    const tasks = cells.map((cell) => ({
      name: `seed ${seed}, ${cell.name}`,
      folder: fork(seed, cell.name, cell.overrides, parentOf(seed, cell)),
      model: cell.model,
      stages: stagesOf(cell),
      after: cell.after.map((name) => `seed ${seed}, ${name}`),
    }));
    await runAll(tasks, write);
    finished.push(resultOf(seed, cells));
    say(`${PAGE}: ${finished.length} of ${seeds.length} seeds`);
  }
}

await main();

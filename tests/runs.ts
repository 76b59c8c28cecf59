/** Small runs of the real stages over a few lines of text, for tests of single stages. */
import { cpSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { Random } from '../src/corpus/random.js';
import { buildCorpus } from '../src/corpus/stage.js';
import { openWeights } from '../src/formats/hf-folder.js';
import { type TensorSource, writeSafetensors } from '../src/formats/safetensors.js';
import { partitionCorpus } from '../src/partition/stage.js';
import { loadRecipe } from '../src/recipe/load.js';
import type { Progress, StageRun } from '../src/run/context.js';
import { readDone } from '../src/run/done.js';
import { RunFolder } from '../src/run/folder.js';
import { initialise } from '../src/split/stage.js';

/** A run that was begun here, and what it reported. */
export interface SmallRun {
  context: StageRun;
  /** Everything that was said. */
  said: string[];
  progress: Progress[];
  /** Set `requested` to stop what is under way. */
  stop: { requested: boolean; reason: string };
}

const WORDS = 'the of and in song album river lake mountain singer guitar valley road bridge chorus'.split(
  ' ',
);

function writeLines(file: string, lines: number, seed: number): string {
  const random = new Random('lines', seed);
  const line = () =>
    Array.from({ length: 4 + random.below(20) }, () => WORDS[random.below(WORDS.length)]!).join(' ');
  writeFileSync(file, Array.from({ length: lines }, line).join('\n'));
  return file;
}

/**
 * The tiny recipe with `overrides` over two text files, begun in a new run folder `name`: the corpus is finished.
 *
 * @param files one document a line each
 */
export async function runOnCorpus(
  name: string,
  files: { train: string; held: string },
  overrides: readonly string[],
): Promise<SmallRun> {
  const { recipe } = loadRecipe(fileURLToPath(new URL('../recipes/tiny.yaml', import.meta.url)), [
    `corpus.train.path=${files.train}`,
    `corpus.validation.path=${files.held}`,
    `corpus.test.path=${files.held}`,
    'partition.embedding.dimension=4',
    ...overrides,
  ]);
  const said: string[] = [];
  const progress: Progress[] = [];
  const stop = { requested: false, reason: 'SIGTERM' };
  const context: StageRun = {
    run: RunFolder.create(name, stringify(recipe)),
    recipe,
    reporter: { progress: (state) => progress.push(state), say: (text) => said.push(text) },
    stop,
    device: 'cpu',
  };
  await buildCorpus(context);
  return { context, said, progress, stop };
}

/** The tiny recipe with a smaller model, 3 experts, and `overrides`, begun in a new run folder `name`. */
export async function smallRun(name: string, overrides: readonly string[] = []): Promise<SmallRun> {
  const files = {
    train: writeLines(`${name}.train.txt`, 60, 1),
    held: writeLines(`${name}.held.txt`, 12, 2),
  };
  const started = await runOnCorpus(name, files, [
    'corpus.sequenceLength=16',
    'partition.restarts=1',
    'model.config.hidden_size=16',
    'model.config.num_experts=3',
    'model.config.moe_intermediate_size=8',
    'model.config.shared_expert_intermediate_size=8',
    'train.submodels.steps=2',
    'train.evaluateTokens=64',
    ...overrides,
  ]);
  await partitionCorpus(started.context);
  await initialise(started.context);
  return started;
}

/** The same run in a copy of its folder. */
export function copyOfRun(context: StageRun, name: string): StageRun {
  cpSync(context.run.root, name, { recursive: true });
  return { ...context, run: new RunFolder(name) };
}

/** Another recipe for the same run, as if the folder had been made by it. */
export function withTraining(
  context: StageRun,
  changes: Partial<StageRun['recipe']['train']['submodels']>,
): StageRun {
  const { recipe } = context;
  const submodels = { ...recipe.train.submodels, ...changes };
  return { ...context, recipe: { ...recipe, train: { ...recipe.train, submodels } } };
}

/** The same run with other keys of `merge`. */
export function withMerge(context: StageRun, changes: Partial<StageRun['recipe']['merge']>): StageRun {
  return { ...context, recipe: { ...context.recipe, merge: { ...context.recipe.merge, ...changes } } };
}

/** The bytes of every tensor of a model folder. */
export function tensorsOf(folder: string): Map<string, Uint8Array> {
  const weights = openWeights(folder);
  const tensors = new Map(weights.names.map((name) => [name, weights.read(name)]));
  weights.close();
  return tensors;
}

/** The values of a float32 tensor. */
export function valuesOf(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.slice().buffer);
}

/** Changes the tensors of a model folder, and a stage's DONE with them, as if they had been written so. */
export async function changeTensors(
  folder: string,
  change: (tensors: TensorSource[]) => TensorSource[],
): Promise<void> {
  const weights = openWeights(folder);
  const tensors = weights.names.map((name): TensorSource => {
    const { dtype, shape } = weights.info(name);
    const bytes = weights.read(name);
    return { name, dtype, shape, write: (sink) => sink(bytes) };
  });
  weights.close();
  await writeSafetensors(join(folder, 'model.safetensors'), change(tensors));
  if (existsSync(join(folder, 'DONE'))) changeDone(folder, () => {});
}

/** Changes a JSON file of a stage. */
export function changeJson(file: string, change: (content: Record<string, unknown>) => void): void {
  const content = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  change(content);
  writeFileSync(file, JSON.stringify(content));
}

/** Changes DONE of a stage; the recorded sizes become those of the files that are there. */
export function changeDone(folder: string, change: (content: Record<string, unknown>) => void): void {
  const outputs = readDone(folder)!.outputs.map((output) => ({
    ...output,
    size: statSync(join(folder, output.name)).size,
  }));
  changeJson(join(folder, 'DONE'), (content) => {
    content.outputs = outputs;
    change(content);
  });
}

/** Removes files that a finished stage has made, but not its DONE. */
export function removeWeights(folder: string): void {
  rmSync(join(folder, 'model.safetensors'));
}

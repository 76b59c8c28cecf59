/** One training of a run as a stage: what it reads, what it starts from, what it leaves. All phases go through here. */
import { BatchSource, rowOptions, rowReads } from '../corpus/batches.js';
import { endTokenOf, openSplit } from '../corpus/stage.js';
import { type HeldOutSplit, openHeldOut } from '../evaluate/held-out.js';
import type { FileRecord } from '../formats/hash.js';
import { weightsHash, writeHuggingFaceFolder } from '../formats/hf-folder.js';
import type { TokenStore } from '../formats/token-store.js';
import { modelCompanions } from '../model/companions.js';
import { type ModelConfig, toHuggingFaceConfig } from '../model/config.js';
import { Decoder } from '../model/decoder.js';
import { ParameterStore } from '../model/store.js';
import { tensorSources } from '../model/store-files.js';
import type { Recipe } from '../recipe/schema.js';
import type { StageRun } from '../run/context.js';
import { type Done, hashOf } from '../run/done.js';
import { requireDone } from '../run/require.js';
import { runStage, type StageContext, type StageRequest, type StageResult } from '../run/stage.js';
import { dtypeOf } from '../split/stage.js';
import type { Start } from '../split/start.js';
import * as torch from '../torch/index.js';
import { removeCheckpoints } from './checkpoint.js';
import { type Training, train } from './loop.js';
import { trainingSummarySchema } from './summary.js';

/** The parts of a recipe's `train` that are trainings. */
type PhaseKey = 'seed' | 'submodels' | 'finetune' | 'baseline';

/** What the trainings differ in. */
interface Plan {
  stage: string;
  command: string;
  /** Its part of the recipe, train.KEY. */
  key: PhaseKey;
  config: ModelConfig;
  /** Documents of the training split; null: all. */
  documents: Int32Array | null;
  steps(source: BatchSource): number;
  inputs: Record<string, string>;
  initialise(store: ParameterStore): void;
  heldOut: boolean;
  /** Writes what was trained, where that is not simply a model folder. */
  write?(store: ParameterStore, stage: StageContext): Promise<Written>;
}

/** Files of a trained model, and the hashes of what they hold. */
export interface Written {
  files: FileRecord[];
  hashes: Record<string, string>;
}

/** Hashes of the corpus that trainings on all data depend on. */
export function corpusInputs({ run }: StageRun): Record<string, string> {
  const corpus = requireDone(run, 'corpus');
  return { train: hashOf(corpus, 'train'), validation: hashOf(corpus, 'validation') };
}

/** Fills a store, of the whole model or of the submodel of `expert`, with what a training starts from. */
export function fillAndClose(start: Start, store: ParameterStore, expert?: number): void {
  try {
    start.fill(store, expert);
  } finally {
    start.close();
  }
}

/** What every phase has. The seed phase takes the learning rate of the S-phase where it has none of its own. */
function phaseOf({ train }: Recipe, key: PhaseKey) {
  const phase = train[key];
  return { ...phase, learningRate: phase.learningRate ?? train.submodels.learningRate };
}

/** Recipe values that a training's result depends on: part of its key. */
export function readsOf(recipe: Recipe, plan: Pick<Plan, 'key' | 'config' | 'heldOut'>): unknown {
  const { corpus, train: settings } = recipe;
  const { batchSize, adam, clipNorm, precision, evaluateEvery, evaluateTokens } = settings;
  return {
    seed: recipe.seed,
    corpus: rowReads(corpus),
    model: { config: toHuggingFaceConfig(plan.config, dtypeOf(recipe)) },
    train: {
      ...{ batchSize, adam, clipNorm, precision, [plan.key]: phaseOf(recipe, plan.key) },
      ...(plan.heldOut ? { evaluateEvery, evaluateTokens } : {}),
    },
  };
}

/** Runs a training to its end, or finds it done; resumes it where it was interrupted. */
export async function trainStage(context: StageRun, plan: Plan): Promise<Done> {
  const { run, recipe, device, reporter } = context;
  torch.setDeterministic(device === 'cpu');
  const request: StageRequest = {
    run,
    stage: plan.stage,
    reads: readsOf(recipe, plan),
    inputs: plan.inputs,
    command: plan.command,
    execution: {
      device,
      threads: torch.getNumThreads(),
      microBatch: recipe.train.microBatch ?? recipe.train.batchSize,
      backward: recipe.execution.backward,
    },
    versions: { torch: torch.version() },
    seeds: { weights: recipe.seed, data: recipe.seed },
    say: (text) => reporter.say(text),
  };
  const done = await runStage(request, (stage) => trainInStage(context, plan, stage));
  // What they hold is in the finished model. Those of a run that this one was forked from are not ours to remove.
  removeCheckpoints(run.path(plan.stage, 'checkpoints'));
  return done;
}

async function trainInStage(context: StageRun, plan: Plan, stage: StageContext): Promise<StageResult> {
  const { evaluateTokens } = context.recipe.train;
  const documents = openSplit(context, 'train');
  const held = plan.heldOut ? openHeldOut(context, 'validation', evaluateTokens) : null;
  try {
    return await trainOn({ documents, held }, context, plan, stage);
  } finally {
    held?.close();
    documents.close();
  }
}

async function trainOn(
  { documents, held }: { documents: TokenStore; held: HeldOutSplit | null },
  context: StageRun,
  plan: Plan,
  stage: StageContext,
): Promise<StageResult> {
  const { recipe, device, run } = context;
  const { train: settings, corpus, execution } = recipe;
  const dtype = dtypeOf(recipe);
  const { sequenceLength } = corpus;
  const { batchSize } = settings;
  const source = new BatchSource({
    store: documents,
    documents: plan.documents,
    ...rowOptions(corpus),
    batchSize,
    seed: recipe.seed,
    eos: endTokenOf(requireDone(run, 'corpus')),
  });
  const { learningRate, warmupRatio, schedule, weightDecay } = phaseOf(recipe, plan.key);
  const steps = plan.steps(source);
  const store = new ParameterStore(plan.config, { dtype, device, training: true });
  try {
    const training: Training = {
      stage: plan.stage,
      model: new Decoder(store),
      initialise: () => plan.initialise(store),
      source,
      steps,
      seed: recipe.seed,
      schedule: { schedule, learningRate, warmupRatio },
      optimizer: { ...settings.adam, weightDecay, clipNorm: settings.clipNorm },
      batchSize,
      microBatch: settings.microBatch ?? batchSize,
      sequenceLength,
      backward: execution.backward,
      heldOut: held && { rows: held.rows, every: settings.evaluateEvery },
      checkpointMinutes: settings.checkpointMinutes,
      checkpointSteps: settings.checkpointSteps,
    };
    const result = await train(training, stage, context);
    const { files, hashes } = await (plan.write?.(store, stage) ??
      writeModel(context, plan.config, store, stage));
    return {
      outputs: [...files, 'metrics.jsonl'],
      hashes,
      summary: trainingSummarySchema.parse({ ...result, steps, batchSize, sequenceLength }),
    };
  } finally {
    store.dispose();
  }
}

/** Writes a model folder of a store. */
export async function writeModel(
  { run, recipe }: StageRun,
  config: ModelConfig,
  store: ParameterStore,
  stage: StageContext,
): Promise<Written> {
  const files = await writeHuggingFaceFolder(stage.folder, {
    config: toHuggingFaceConfig(config, dtypeOf(recipe)),
    tensors: tensorSources(store),
    extraFiles: modelCompanions(run.stage('corpus').path('tokenizer.json'), config),
    check: stage.assertOwned,
  });
  return { files, hashes: { weights: weightsHash(files) } };
}

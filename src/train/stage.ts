/**
 * The trainings of a run: the seed phase, where there is one, submodel k (S-phase), the merged model (F-phase), the
 * full-parameter baseline.
 */
import { BatchSource, rowOptions, rowReads } from '../corpus/batches.js';
import { endTokenOf, openSplit } from '../corpus/stage.js';
import { RequestError } from '../errors.js';
import { type HeldOutSplit, openHeldOut } from '../evaluate/held-out.js';
import { type FileRecord, hashJson } from '../formats/hash.js';
import { openWeights, weightsHash, writeHuggingFaceFolder } from '../formats/hf-folder.js';
import type { TokenStore } from '../formats/token-store.js';
import { type ModelConfig, submodelConfig, toHuggingFaceConfig } from '../model/config.js';
import { Decoder } from '../model/decoder.js';
import { remoteCodeOf } from '../model/remote-code.js';
import { ParameterStore } from '../model/store.js';
import { fingerprint, loadTensors, tensorSources } from '../model/store-files.js';
import { documentsOfCluster, readAssignment } from '../partition/assignment.js';
import { hasSeedPhase, submodelCount } from '../recipe/check.js';
import type { Recipe } from '../recipe/schema.js';
import type { StageRun } from '../run/context.js';
import { type Done, hashOf } from '../run/done.js';
import { requireDone, requireFiles } from '../run/require.js';
import { runStage, type StageContext, type StageRequest, type StageResult } from '../run/stage.js';
import { partsOf, writeParts } from '../split/parts.js';
import { dtypeOf, modelConfigOf } from '../split/stage.js';
import { openInit, openStart, type Start, startDone } from '../split/start.js';
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
interface Written {
  files: FileRecord[];
  hashes: Record<string, string>;
}

/**
 * The seed phase, before the split: the whole model, or one submodel, on all data. Its result is what every submodel
 * starts from.
 */
export async function trainSeed(context: StageRun): Promise<Done> {
  const { run, recipe } = context;
  if (!hasSeedPhase(recipe)) {
    throw new RequestError('This run has no seed phase.', {
      key: 'train.seed.steps',
      expected: 'at least 1',
      found: '0',
    });
  }
  const config = modelConfigOf(recipe, run);
  const { hashes } = requireDone(run, 'init');
  const shared = {
    stage: 'seed',
    command: `moe-disco seed ${run.root}`,
    key: 'seed',
    documents: null,
    steps: () => recipe.train.seed.steps,
    heldOut: true,
  } as const;
  if (recipe.train.seed.model === 'whole') {
    return trainStage(context, {
      ...shared,
      config,
      inputs: { ...corpusInputs(context), ...hashes },
      initialise: (store) => fillAndClose(openInit(context), store),
      write: (store, stage) => writeWholeSeed(context, config, store, stage),
    });
  }
  const { router, ...others } = hashes;
  const single = submodelConfig(config);
  return trainStage(context, {
    ...shared,
    config: single,
    inputs: {
      ...corpusInputs(context),
      router: router!,
      ...{ shared: others.shared!, 'expert/0': others['expert/0']! },
    },
    initialise: (store) => fillAndClose(openInit(context, 0), store, 0),
    write: async (store, stage) => {
      const written = await writeModel(context, single, store, stage);
      const expert = fingerprint(store, 'expert', 0);
      const parts = partsOf(config).map(({ name, role }) => [name, role === 'router' ? router! : expert]);
      const all = { ...Object.fromEntries(parts), shared: fingerprint(store, 'backbone') };
      return { files: written.files, hashes: { ...written.hashes, ...all } };
    },
  });
}

/** The whole model part by part, as the workers of the S-phase read it. */
async function writeWholeSeed(
  { run, recipe }: StageRun,
  config: ModelConfig,
  store: ParameterStore,
  stage: StageContext,
): Promise<Written> {
  const dtype = dtypeOf(recipe);
  const { files, fingerprints } = await writeParts(stage.folder, {
    config,
    json: toHuggingFaceConfig(config, dtype),
    dtype,
    tensor: ({ name }) => store.parameter(name),
    tokenizer: run.stage('corpus').path('tokenizer.json'),
    check: stage.assertOwned,
  });
  return { files, hashes: { weights: hashJson(fingerprints), ...fingerprints } };
}

function fillAndClose(start: Start, store: ParameterStore, expert?: number): void {
  try {
    start.fill(store, expert);
  } finally {
    start.close();
  }
}

/**
 * S-phase: trains submodel `k`, the backbone and expert k of each layer, on cluster k. Needs nothing of its
 * siblings.
 *
 * @throws RequestError for a k that is none of the experts, and where corpus, partition or init are missing
 */
export async function trainSubmodel(context: StageRun, k: number): Promise<Done> {
  const { run, recipe } = context;
  const config = modelConfigOf(recipe, run);
  const count = submodelCount(recipe);
  if (!Number.isInteger(k) || k < 0 || k >= count) {
    throw new RequestError('There is no such submodel.', {
      key: '--expert',
      expected: count === 1 ? '0' : `0 to ${count - 1}`,
      found: String(k),
    });
  }
  const partition = requireDone(run, 'partition');
  const start = startDone(context);
  const phase = recipe.train.submodels;
  const { batchSize } = recipe.train;
  return trainStage(context, {
    stage: `submodels/${k}`,
    command: `moe-disco train ${run.root} --expert ${k}`,
    key: 'submodels',
    config: submodelConfig(config),
    documents: documentsOfCluster(readAssignment(run.stageFolder('partition')), k),
    steps: (source) => phase.steps ?? Math.ceil((phase.epochs! * source.rowsPerEpoch) / batchSize),
    inputs: {
      tokens: hashOf(partition, `cluster/${k}`),
      shared: hashOf(start, 'shared'),
      expert: hashOf(start, `expert/${k}`),
    },
    initialise: (store) => fillAndClose(openStart(context, k), store, k),
    heldOut: false,
  });
}

/** The full-parameter baseline: the whole model from the same initial weights on all data. */
export async function trainBaseline(context: StageRun): Promise<Done> {
  const { run, recipe } = context;
  const config = modelConfigOf(recipe, run);
  const init = requireDone(run, 'init');
  return trainStage(context, {
    stage: 'baseline',
    command: `moe-disco baseline ${run.root}`,
    key: 'baseline',
    config,
    documents: null,
    steps: () => recipe.train.baseline.steps,
    inputs: { ...corpusInputs(context), ...init.hashes },
    initialise: (store) => fillAndClose(openInit(context), store),
    heldOut: true,
  });
}

/** F-phase: the merged model on all data, with fresh moments. */
export async function fineTune(context: StageRun): Promise<Done> {
  const { run, recipe } = context;
  const merged = requireDone(run, 'merged');
  return trainStage(context, {
    stage: 'finetuned',
    command: `moe-disco finetune ${run.root}`,
    key: 'finetune',
    config: modelConfigOf(recipe, run),
    documents: null,
    steps: () => recipe.train.finetune.steps,
    inputs: { ...corpusInputs(context), weights: hashOf(merged, 'weights') },
    initialise: (store) => {
      requireFiles(run, 'merged');
      const folder = run.stageFolder('merged');
      const weights = openWeights(folder);
      try {
        loadTensors(store, weights, folder);
      } finally {
        weights.close();
      }
    },
    heldOut: true,
  });
}

function corpusInputs({ run }: StageRun): Record<string, string> {
  const corpus = requireDone(run, 'corpus');
  return { train: hashOf(corpus, 'train'), validation: hashOf(corpus, 'validation') };
}

/** What every phase has. The seed phase takes the learning rate of the S-phase where it has none of its own. */
function phaseOf({ train }: Recipe, key: PhaseKey) {
  const phase = train[key];
  return { ...phase, learningRate: phase.learningRate ?? train.submodels.learningRate };
}

/** Recipe values that a training's result depends on. */
function readsOf(recipe: Recipe, plan: Pick<Plan, 'key' | 'config' | 'heldOut'>): unknown {
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

/**
 * The recipe values that the training of every submodel depends on: part of its key.
 *
 * @param config of the whole model
 */
export function submodelReads(recipe: Recipe, config: ModelConfig): unknown {
  return readsOf(recipe, { key: 'submodels', config: submodelConfig(config), heldOut: false });
}

async function trainStage(context: StageRun, plan: Plan): Promise<Done> {
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
async function writeModel(
  { run, recipe }: StageRun,
  config: ModelConfig,
  store: ParameterStore,
  stage: StageContext,
): Promise<Written> {
  const files = await writeHuggingFaceFolder(stage.folder, {
    config: toHuggingFaceConfig(config, dtypeOf(recipe)),
    tensors: tensorSources(store),
    extraFiles: {
      'tokenizer.json': run.stage('corpus').path('tokenizer.json'),
      ...remoteCodeOf(config),
    },
    check: stage.assertOwned,
  });
  return { files, hashes: { weights: weightsHash(files) } };
}

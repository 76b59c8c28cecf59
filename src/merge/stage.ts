/**
 * The merge: theta_exp = Concat(theta_1 .. theta_E), theta_shared = sum_k gamma_k theta_shared^(k), the router's
 * original rows. merge.json proves it: every tensor with its origin and hash, drift and loss barrier.
 */
import { EvaluationRows } from '../corpus/evaluation-rows.js';
import { endTokenOf, openSplit } from '../corpus/stage.js';
import { DataError, EngineError, StoppedError } from '../errors.js';
import { meanLoss } from '../evaluate/loss.js';
import { writeJson } from '../formats/atomic.js';
import { hashJson, type Json, sha256 } from '../formats/hash.js';
import { openWeights, writeHuggingFaceFolder } from '../formats/hf-folder.js';
import { type ModelConfig, toHuggingFaceConfig } from '../model/config.js';
import { Decoder } from '../model/decoder.js';
import { fillInitialWeights } from '../model/initial-weights.js';
import { openModel } from '../model/open.js';
import { ParameterStore } from '../model/store.js';
import { submodelCount } from '../recipe/check.js';
import type { StageRun } from '../run/context.js';
import type { Done } from '../run/done.js';
import { requireDone } from '../run/require.js';
import { runStage, type StageContext, type StageResult } from '../run/stage.js';
import { dtypeOf, modelConfigOf } from '../split/stage.js';
import * as torch from '../torch/index.js';
import { relativeDrift } from './average.js';
import { backboneWeights } from './gamma.js';
import { closeSiblings, openSiblings, type Sibling } from './siblings.js';
import { planMerge, type TensorRecord } from './sources.js';

/** Above this drift an average of backbones usually loses more than it keeps (algorithm section 6). */
const DRIFT_WARNING = 0.25;

/**
 * Merges all submodels of a run into one model.
 *
 * @throws RequestError and DataError for submodels that do not belong together, as {@link openSiblings}
 */
export async function mergeSubmodels(context: StageRun): Promise<Done> {
  const { run, recipe, reporter } = context;
  const config = modelConfigOf(recipe, run);
  const init = requireDone(run, 'init');
  const corpus = requireDone(run, 'corpus');
  const siblings = openSiblings(run, config, init, submodelCount(recipe));
  try {
    return await runStage(
      {
        run,
        stage: 'merged',
        reads: {
          merge: recipe.merge,
          model: toHuggingFaceConfig(config, dtypeOf(recipe)),
          corpus: { batch: recipe.corpus.batch, sequenceLength: recipe.corpus.sequenceLength },
          evaluateTokens: recipe.train.evaluateTokens,
          ...(recipe.merge.gamma === 'wpsgd' ? { lambdaEta: lambdaEta(context) } : {}),
        },
        inputs: {
          validation: corpus.hashes.validation!,
          router: init.hashes.router!,
          ...Object.fromEntries(siblings.map(({ stage, done }) => [stage, done.hashes.weights!])),
        },
        command: `disco merge ${run.root}`,
        execution: { device: context.device, threads: torch.getNumThreads() },
        versions: { torch: torch.version() },
        say: (text) => reporter.say(text),
      },
      (stage) => merge(context, stage, config, siblings),
    );
  } finally {
    closeSiblings(siblings);
  }
}

/** lambda * eta of WP-SGD: given, or weight decay times learning rate of the S-phase. */
function lambdaEta({ recipe }: StageRun): number {
  const { learningRate, weightDecay } = recipe.train.submodels;
  return recipe.merge.lambdaEta ?? learningRate * weightDecay;
}

async function merge(
  context: StageRun,
  stage: StageContext,
  config: ModelConfig,
  siblings: readonly Sibling[],
): Promise<StageResult> {
  const { run, recipe, reporter } = context;
  const gamma = backboneWeights(
    siblings.map(({ work }) => work),
    { mode: recipe.merge.gamma, lambdaEta: lambdaEta(context) },
  );
  const initial = new ParameterStore(config, { dtype: dtypeOf(recipe) });
  fillInitialWeights(initial, { seed: recipe.seed });
  const plan = planMerge(siblings, config, gamma, recipe.merge.average, initial);
  const tokenizer = run.stage('corpus').path('tokenizer.json');
  const files = await writeHuggingFaceFolder(stage.folder, {
    config: toHuggingFaceConfig(config, dtypeOf(recipe)),
    tensors: plan.sources,
    extraFiles: { 'tokenizer.json': tokenizer },
    check: stage.assertOwned,
  }).finally(() => initial.dispose());
  verifyMerge(stage.folder, plan.records);

  const drift = relativeDrift(plan.drift, siblings.length);
  const barrier = await lossBarrier(context, stage.folder, siblings);
  const weights = gamma.map((value) => value.toFixed(3)).join(', ');
  reporter.say(`merged: gamma ${weights}; relative drift of the backbones ${drift.toFixed(3)}`);
  if (drift > DRIFT_WARNING && gamma.every((value) => value < 1)) {
    reporter.say(
      `Warning: above ${DRIFT_WARNING} the average of backbones usually begins worse than its parts.`,
    );
  }
  const loss = (value: number): string => value.toFixed(3);
  reporter.say(
    `merged: held-out loss ${loss(barrier.merged)}, mean of the submodels ${loss(barrier.meanOfSubmodels)}: barrier ${loss(barrier.barrier)}`,
  );
  const summary = { gamma, relativeDrift: drift, barrier };
  const report = {
    format: 1,
    gammaMode: recipe.merge.gamma,
    average: recipe.merge.average,
    router: recipe.merge.router,
    ...summary,
    tensors: plan.records,
  };
  const json = writeJson(stage.path('merge.json'), report, stage.assertOwned);
  const hashes = files.filter(({ name }) => name.endsWith('.safetensors')).map((file) => file.sha256);
  return {
    outputs: [...files, json],
    hashes: { weights: hashJson(hashes) },
    summary: summary as unknown as Json,
  };
}

/** Reads the merged model back: every tensor there, none left over, each with the recorded bytes. */
function verifyMerge(folder: string, records: readonly TensorRecord[]): void {
  const weights = openWeights(folder);
  try {
    if (weights.names.length !== records.length) {
      throw new EngineError('The merged model has another number of tensors than the merge accounts for.', {
        file: folder,
        expected: String(records.length),
        found: String(weights.names.length),
      });
    }
    for (const { name, sha256: expected } of records) {
      const found = sha256(weights.read(name));
      if (found !== expected) {
        throw new DataError('A merged tensor is not as it was written.', {
          file: weights.file(name),
          key: name,
          expected,
          found,
        });
      }
    }
  } finally {
    weights.close();
  }
}

/** Loss on one and the same held-out text: barrier = merged - mean over k of submodel k. */
interface Barrier {
  merged: number;
  submodels: number[];
  meanOfSubmodels: number;
  barrier: number;
  heldOutTokens: number;
}

async function lossBarrier(
  context: StageRun,
  folder: string,
  siblings: readonly Sibling[],
): Promise<Barrier> {
  const { run, recipe, device, reporter, stop } = context;
  const { batch, sequenceLength } = recipe.corpus;
  const rows = new EvaluationRows({
    store: openSplit(context, 'validation'),
    batch,
    sequenceLength,
    eos: endTokenOf(requireDone(run, 'corpus')),
    maxTargets: recipe.train.evaluateTokens,
  });
  const lossOf = async (model: string, name: string): Promise<number> => {
    reporter.progress({ stage: 'merged', note: `held-out loss of ${name}` });
    const store = openModel(model, { device });
    try {
      const options = { batchRows: recipe.train.microBatch ?? recipe.train.batchSize };
      const onBatch = (): void => {
        if (stop.requested)
          throw new StoppedError(`Stopped (${stop.reason}) while merging.`, {
            hint: 'run the same command again',
          });
      };
      return (await meanLoss(new Decoder(store), rows, { ...options, onBatch })).loss;
    } finally {
      store.dispose();
    }
  };
  const submodels: number[] = [];
  for (const { stage } of siblings) submodels.push(await lossOf(run.stageFolder(stage), stage));
  const merged = await lossOf(folder, 'the merged model');
  const meanOfSubmodels = submodels.reduce((sum, loss) => sum + loss, 0) / submodels.length;
  return {
    merged,
    submodels,
    meanOfSubmodels,
    barrier: merged - meanOfSubmodels,
    heldOutTokens: rows.targets,
  };
}

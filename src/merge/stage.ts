/**
 * The merge: theta_exp = Concat(theta_1 .. theta_E), theta_shared = sum_k gamma_k theta_shared^(k), the router's
 * original rows. merge.json proves it: every tensor with its origin and hash, drift and loss barrier.
 */
import { folderLoss, openHeldOut } from '../evaluate/held-out.js';
import { writeJson } from '../formats/atomic.js';
import { weightsHash, writeHuggingFaceFolder } from '../formats/hf-folder.js';
import { modelCompanions } from '../model/companions.js';
import { type ModelConfig, toHuggingFaceConfig } from '../model/config.js';
import { submodelCount } from '../recipe/check.js';
import type { StageRun } from '../run/context.js';
import { type Done, hashOf } from '../run/done.js';
import { requireDone } from '../run/require.js';
import { runStage, type StageContext, type StageResult } from '../run/stage.js';
import { dtypeOf, modelConfigOf } from '../split/stage.js';
import { followsFromSeed, openStart, startDone } from '../split/start.js';
import * as torch from '../torch/index.js';
import { submodelReads } from '../train/stage.js';
import { driftWarning, relativeDrift } from './average.js';
import { backboneWeights } from './gamma.js';
import { type Barrier, type MergeSummary, mergeReportSchema, mergeSummarySchema } from './report.js';
import { closeSiblings, findSiblings, type OpenSibling, openSiblings, type Sibling } from './siblings.js';
import { planMerge } from './sources.js';
import { verifyMerge } from './verify.js';

/**
 * Merges all submodels of a run into one model, or returns the finished merge.
 *
 * @throws RequestError and DataError for submodels that are missing or do not belong together, as
 * {@link findSiblings} and {@link openSiblings}
 */
export async function mergeSubmodels(context: StageRun): Promise<Done> {
  const { run, recipe, reporter } = context;
  const config = modelConfigOf(recipe, run);
  const start = startDone(context);
  const corpus = requireDone(run, 'corpus');
  const siblings = findSiblings(run, {
    count: submodelCount(recipe),
    start,
    reads: submodelReads(recipe, config),
  });
  return runStage(
    {
      run,
      stage: 'merged',
      reads: {
        merge: recipe.merge,
        model: { config: toHuggingFaceConfig(config, dtypeOf(recipe)) },
        corpus: { batch: recipe.corpus.batch, sequenceLength: recipe.corpus.sequenceLength },
        train: { evaluateTokens: recipe.train.evaluateTokens },
        ...(recipe.merge.gamma === 'wpsgd' ? { lambdaEta: lambdaEta(context) } : {}),
      },
      inputs: {
        validation: hashOf(corpus, 'validation'),
        router: hashOf(start, 'router'),
        // theta_0 of the radial average: it follows from the seed, as the router does, or from a folder or a training.
        ...(followsFromSeed(recipe) ? {} : { start: hashOf(start, 'shared') }),
        ...Object.fromEntries(siblings.map(({ stage, done }) => [stage, hashOf(done, 'weights')])),
      },
      command: `moe-disco merge ${run.root}`,
      execution: { device: context.device, threads: torch.getNumThreads() },
      versions: { torch: torch.version() },
      say: (text) => reporter.say(text),
    },
    async (stage) => {
      const opened = openSiblings(run, siblings, config, dtypeOf(recipe));
      try {
        return await merge(context, stage, config, opened);
      } finally {
        closeSiblings(opened);
      }
    },
  );
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
  siblings: readonly OpenSibling[],
): Promise<StageResult> {
  const { run, recipe, reporter } = context;
  const { gamma: gammaMode, average, router } = recipe.merge;
  const dtype = dtypeOf(recipe);
  const work = siblings.map((sibling) => sibling.work);
  const gamma = backboneWeights(work, { mode: gammaMode, lambdaEta: lambdaEta(context) });
  reporter.progress({ stage: 'merged', note: 'experts side by side, backbones averaged' });
  const start = openStart(context);
  const plan = planMerge(siblings, {
    config,
    gamma,
    average,
    initial: {
      name: startDone(context).stage,
      type: () => null,
      tensor: (parameter) => start.tensor(parameter),
    },
  });
  const files = await writeHuggingFaceFolder(stage.folder, {
    config: toHuggingFaceConfig(config, dtype),
    tensors: plan.sources,
    extraFiles: modelCompanions(run.stage('corpus').path('tokenizer.json'), config),
    check: stage.assertOwned,
  }).finally(() => start.close());
  await verifyMerge(stage.folder, plan.records);

  const barrier = await lossBarrier(context, stage.folder, siblings);
  const drift = relativeDrift(plan.drift, siblings.length);
  const summary = mergeSummarySchema.parse({ gamma, relativeDrift: drift, barrier });
  sayResult(context, summary);
  const tensors = plan.records;
  const report = mergeReportSchema.parse({ format: 1, gammaMode, average, router, ...summary, tensors });
  const json = writeJson(stage.path('merge.json'), report, stage.assertOwned);
  return { outputs: [...files, json], hashes: { weights: weightsHash(files) }, summary };
}

/** Loss on one and the same held-out text: barrier = merged - mean over k of submodel k. */
async function lossBarrier(
  context: StageRun,
  folder: string,
  siblings: readonly Sibling[],
): Promise<Barrier> {
  const held = openHeldOut(context, 'validation', context.recipe.train.evaluateTokens);
  const lossOf = async (model: string, name: string): Promise<number> =>
    (await folderLoss(context, { stage: 'merged', folder: model, name }, held.rows)).loss;
  try {
    const submodels: number[] = [];
    for (const sibling of siblings) submodels.push(await lossOf(sibling.folder, sibling.stage));
    const merged = await lossOf(folder, 'the merged model');
    const meanOfSubmodels = submodels.reduce((sum, loss) => sum + loss, 0) / submodels.length;
    const barrier = merged - meanOfSubmodels;
    return { merged, submodels, meanOfSubmodels, barrier, heldOutTokens: held.rows.targets };
  } finally {
    held.close();
  }
}

function sayResult({ reporter }: StageRun, { gamma, relativeDrift: drift, barrier }: MergeSummary): void {
  const digits = (value: number): string => value.toFixed(3);
  const weights = gamma.map(digits).join(', ');
  reporter.say(`merged: gamma ${weights}; relative drift of the backbones ${digits(drift)}`);
  const warning = driftWarning(drift, gamma);
  if (warning !== null) reporter.say(warning);
  const mean = digits(barrier.meanOfSubmodels);
  reporter.say(
    `merged: held-out loss ${digits(barrier.merged)}, mean of the submodels ${mean}: barrier ${digits(barrier.barrier)}`,
  );
}

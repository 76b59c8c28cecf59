/**
 * The evaluation stage: held-out loss and perplexity of every model of the run, the bigram model's beside them,
 * and the test split, read once, for the two final models.
 */
import { rowReads } from '../corpus/batches.js';
import { BigramModel } from '../corpus/bigram.js';
import type { EvaluationRows } from '../corpus/evaluation-rows.js';
import { endTokenOf, openSplit } from '../corpus/stage.js';
import { writeJson } from '../formats/atomic.js';
import { hashJson } from '../formats/hash.js';
import { hasSeedPhase, submodelCount } from '../recipe/check.js';
import type { StageRun } from '../run/context.js';
import { type Done, hashOf } from '../run/done.js';
import { requireDone, requireFiles } from '../run/require.js';
import { runStage, type StageContext, type StageResult } from '../run/stage.js';
import { modelConfigOf } from '../split/stage.js';
import * as torch from '../torch/index.js';
import { folderLoss, type HeldOutSplit, openHeldOut } from './held-out.js';
import type { HeldOutLoss } from './loss.js';
import { type DocumentLoss, type Evaluation, evaluationSchema, type SplitLoss } from './types.js';

/** Evaluates the models of a run. Throws RequestError where one is not finished. */
export async function evaluateRun(context: StageRun): Promise<Done> {
  const { run, recipe, reporter } = context;
  const submodels = Array.from({ length: submodelCount(recipe) }, (_, k) => `submodels/${k}`);
  const models = [...(hasSeedPhase(recipe) ? ['seed'] : []), ...submodels, 'merged', 'finetuned', 'baseline'];
  const corpus = requireDone(run, 'corpus');
  return runStage(
    {
      run,
      stage: 'evaluation',
      reads: { corpus: rowReads(recipe.corpus) },
      inputs: {
        train: hashOf(corpus, 'train'),
        validation: hashOf(corpus, 'validation'),
        test: hashOf(corpus, 'test'),
        ...Object.fromEntries(models.map((stage) => [stage, hashOf(requireDone(run, stage), 'weights')])),
      },
      command: `moe-disco evaluate ${run.root}`,
      execution: { device: context.device, threads: torch.getNumThreads() },
      versions: { torch: torch.version() },
      say: (text) => reporter.say(text),
    },
    (stage) => evaluate(context, stage, models),
  );
}

async function evaluate(
  context: StageRun,
  stage: StageContext,
  models: readonly string[],
): Promise<StageResult> {
  torch.setDeterministic(context.device === 'cpu');
  for (const model of models) requireFiles(context.run, model);
  const validation = openHeldOut(context, 'validation');
  const test = openHeldOut(context, 'test');
  try {
    const lossOf = (model: string, split: string, { rows }: HeldOutSplit): Promise<HeldOutLoss> => {
      const folder = context.run.stageFolder(model);
      return folderLoss(
        context,
        { stage: 'evaluation', folder, name: `${model} on the ${split} split` },
        rows,
      );
    };
    const losses: Record<string, HeldOutLoss> = {};
    for (const model of models) losses[model] = await lossOf(model, 'validation', validation);
    const finetuned = await lossOf('finetuned', 'test', test);
    const baseline = await lossOf('baseline', 'test', test);
    const evaluation: Evaluation = evaluationSchema.parse({
      format: 1,
      models: Object.fromEntries(models.map((model) => [model, { validation: splitLoss(losses[model]!) }])),
      test: { finetuned: splitLoss(finetuned), baseline: splitLoss(baseline) },
      bigram: { validation: bigramLoss(context, validation.rows) },
      perDocument: {
        validation: { finetuned: documents(losses.finetuned!), baseline: documents(losses.baseline!) },
        test: { finetuned: documents(finetuned), baseline: documents(baseline) },
      },
    });
    const file = writeJson(stage.path('evaluation.json'), evaluation, stage.assertOwned);
    return {
      outputs: [file],
      hashes: { evaluation: hashJson(evaluation) },
      summary: evaluation.models,
    };
  } finally {
    test.close();
    validation.close();
  }
}

function bigramLoss(context: StageRun, rows: EvaluationRows): SplitLoss {
  const { run, recipe, reporter } = context;
  reporter.progress({ stage: 'evaluation', note: 'counting the bigram model' });
  const { batch, sequenceLength } = recipe.corpus;
  const { vocabSize: vocabularySize } = modelConfigOf(recipe, run);
  const eos = endTokenOf(requireDone(run, 'corpus'));
  const store = openSplit(context, 'train');
  try {
    return splitLoss(new BigramModel({ store, batch, sequenceLength, eos, vocabularySize }).evaluate(rows));
  } finally {
    store.close();
  }
}

function splitLoss({ loss, targets }: { loss: number; targets: number }): SplitLoss {
  return { loss, perplexity: Math.exp(loss), tokens: targets };
}

function documents(held: HeldOutLoss): DocumentLoss[] {
  return held.documents.map(({ sum, targets }) => [sum, targets]);
}

/**
 * The evaluation stage: held-out loss and perplexity of every model of the run, the bigram model's beside them,
 * and the test split, read once, for the two final models.
 */
import { BigramModel } from '../corpus/bigram.js';
import { EvaluationRows } from '../corpus/evaluation-rows.js';
import { endTokenOf, openSplit } from '../corpus/stage.js';
import { StoppedError } from '../errors.js';
import { writeJson } from '../formats/atomic.js';
import { hashJson, type Json } from '../formats/hash.js';
import { Decoder } from '../model/decoder.js';
import { openModel } from '../model/open.js';
import { submodelCount } from '../recipe/check.js';
import type { StageRun } from '../run/context.js';
import type { Done } from '../run/done.js';
import { requireDone, requireFiles } from '../run/require.js';
import { runStage, type StageContext, type StageResult } from '../run/stage.js';
import { modelConfigOf } from '../split/stage.js';
import * as torch from '../torch/index.js';
import { type HeldOutLoss, meanLoss } from './loss.js';
import { type DocumentLoss, type Evaluation, evaluationSchema, type SplitLoss } from './types.js';

type HeldOutSplit = 'validation' | 'test';

/** Evaluates the models of a run. Throws RequestError where one is not finished. */
export async function evaluateRun(context: StageRun): Promise<Done> {
  const { run, recipe, reporter } = context;
  const submodels = Array.from({ length: submodelCount(recipe) }, (_, k) => `submodels/${k}`);
  const models = [...submodels, 'merged', 'finetuned', 'baseline'];
  const corpus = requireDone(run, 'corpus');
  return runStage(
    {
      run,
      stage: 'evaluation',
      reads: { corpus: { batch: recipe.corpus.batch, sequenceLength: recipe.corpus.sequenceLength } },
      inputs: {
        train: corpus.hashes.train!,
        validation: corpus.hashes.validation!,
        test: corpus.hashes.test!,
        ...Object.fromEntries(models.map((stage) => [stage, requireDone(run, stage).hashes.weights!])),
      },
      command: `moe-disco evaluate ${run.root}`,
      execution: { device: context.device, threads: torch.getNumThreads() },
      versions: { torch: torch.version() },
      say: (text) => reporter.say(text),
    },
    (stage) => evaluate(context, stage, models),
  );
}

async function evaluate(context: StageRun, stage: StageContext, models: string[]): Promise<StageResult> {
  torch.setDeterministic(context.device === 'cpu');
  for (const model of models) requireFiles(context.run, model);
  const rows = { validation: rowsOf(context, 'validation'), test: rowsOf(context, 'test') };
  const losses: Record<string, HeldOutLoss> = {};
  for (const model of models) losses[model] = await lossOf(context, model, 'validation', rows.validation);
  const finetuned = await lossOf(context, 'finetuned', 'test', rows.test);
  const baseline = await lossOf(context, 'baseline', 'test', rows.test);
  const evaluation: Evaluation = evaluationSchema.parse({
    format: 1,
    models: Object.fromEntries(models.map((model) => [model, { validation: splitLoss(losses[model]!) }])),
    test: { finetuned: splitLoss(finetuned), baseline: splitLoss(baseline) },
    bigram: { validation: bigramLoss(context, rows.validation) },
    perDocument: {
      validation: { finetuned: documents(losses.finetuned!), baseline: documents(losses.baseline!) },
      test: { finetuned: documents(finetuned), baseline: documents(baseline) },
    },
  });
  const file = writeJson(stage.path('evaluation.json'), evaluation, stage.assertOwned);
  return {
    outputs: [file],
    hashes: { evaluation: hashJson(evaluation) },
    summary: evaluation.models as unknown as Json,
  };
}

function rowsOf(context: StageRun, split: HeldOutSplit): EvaluationRows {
  return new EvaluationRows({ store: openSplit(context, split), ...rowOptions(context) });
}

function rowOptions({ run, recipe }: StageRun) {
  const { batch, sequenceLength } = recipe.corpus;
  return { batch, sequenceLength, eos: endTokenOf(requireDone(run, 'corpus')) };
}

async function lossOf(
  context: StageRun,
  model: string,
  split: HeldOutSplit,
  rows: EvaluationRows,
): Promise<HeldOutLoss> {
  const { run, recipe, device, reporter, stop } = context;
  reporter.progress({ stage: 'evaluation', note: `${model} on the ${split} split` });
  const store = openModel(run.stageFolder(model), { device });
  try {
    return await meanLoss(new Decoder(store), rows, {
      batchRows: recipe.train.microBatch ?? recipe.train.batchSize,
      onBatch: () => {
        if (!stop.requested) return;
        throw new StoppedError(`Stopped (${stop.reason}); the evaluation will begin anew.`, {
          hint: 'run the same command again',
        });
      },
    });
  } finally {
    store.dispose();
  }
}

function bigramLoss(context: StageRun, rows: EvaluationRows): SplitLoss {
  context.reporter.progress({ stage: 'evaluation', note: 'counting the bigram model' });
  const { vocabSize } = modelConfigOf(context.recipe, context.run);
  const store = openSplit(context, 'train');
  const model = new BigramModel({ store, ...rowOptions(context), vocabularySize: vocabSize });
  return splitLoss(model.evaluate(rows));
}

function splitLoss({ loss, targets }: { loss: number; targets: number }): SplitLoss {
  return { loss, perplexity: Math.exp(loss), tokens: targets };
}

function documents(held: HeldOutLoss): DocumentLoss[] {
  return held.documents.map(({ sum, targets }) => [sum, targets]);
}

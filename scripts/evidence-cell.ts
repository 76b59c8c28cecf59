/**
 * Runs the stages of one cell in this process and measures its model on the whole validation split:
 * `evidence-cell.ts RUN MODEL STAGE...` writes RUN/measured-MODEL.json. Called by evidence.ts.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { EvaluationRows } from '../src/corpus/evaluation-rows.js';
import { endTokenOf, openSplit } from '../src/corpus/stage.js';
import { meanLoss } from '../src/evaluate/loss.js';
import { writeJson } from '../src/formats/atomic.js';
import { runOneStage } from '../src/launch/local.js';
import { openRun } from '../src/launch/run-recipe.js';
import { withSession } from '../src/launch/session.js';
import { Decoder } from '../src/model/decoder.js';
import { openModel } from '../src/model/open.js';
import { addTotals, readLedger, sumLedger } from '../src/run/ledger.js';
import { requireDone } from '../src/run/require.js';
import * as torch from '../src/torch/index.js';

const [folder = '', model = '', ...stages] = process.argv.slice(2);
const file = join(folder, `measured-${model}.json`);

await withSession(async (session) => {
  torch.dieWithParent(process.ppid);
  for (const stage of stages) await runOneStage(folder, stage, session);
  if (existsSync(file) || !stages.includes(model)) return;
  const { run, recipe } = openRun(folder);
  const { batch, sequenceLength } = recipe.corpus;
  const eos = endTokenOf(requireDone(run, 'corpus'));
  const rows = new EvaluationRows({
    store: openSplit({ run, recipe }, 'validation'),
    batch,
    sequenceLength,
    eos,
  });
  torch.setDeterministic(true);
  const store = openModel(run.stageFolder(model));
  const { loss, documents } = await meanLoss(new Decoder(store), rows);
  store.dispose();
  const work = stages
    .filter((stage) => /^(submodels|finetuned|baseline)/.test(stage))
    .map((stage) => sumLedger(readLedger(run.stageFolder(stage))).totals)
    .reduce(addTotals, {});
  const { trainSeconds = 0, tokens = 0, flops = 0 } = work;
  const pairs = documents.map(({ sum, targets }) => [sum, targets]);
  writeJson(file, { format: 1, loss, documents: pairs, trainSeconds, tokens, flops });
});

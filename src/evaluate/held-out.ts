/** Held-out losses of the models of a run, for the stages that compare them. */
import { rowOptions } from '../corpus/batches.js';
import { EvaluationRows } from '../corpus/evaluation-rows.js';
import { endTokenOf, openSplit } from '../corpus/stage.js';
import { NumericError, StoppedError } from '../errors.js';
import { Decoder } from '../model/decoder.js';
import { openModel } from '../model/open.js';
import type { StageRun } from '../run/context.js';
import { requireDone } from '../run/require.js';
import { type HeldOutLoss, meanLoss } from './loss.js';

/** Rows of a held-out split. Close them when done. */
export interface HeldOutSplit {
  rows: EvaluationRows;
  close(): void;
}

/**
 * Opens a held-out split of a run as rows.
 *
 * @param maxTargets only the first so many targets; left out: all
 */
export function openHeldOut(
  context: StageRun,
  split: 'validation' | 'test',
  maxTargets = Number.POSITIVE_INFINITY,
): HeldOutSplit {
  const { run, recipe } = context;
  const eos = endTokenOf(requireDone(run, 'corpus'));
  const store = openSplit(context, split);
  try {
    const rows = new EvaluationRows({ store, ...rowOptions(recipe.corpus), eos, maxTargets });
    return { rows, close: () => store.close() };
  } catch (error) {
    store.close();
    throw error;
  }
}

/**
 * Held-out loss of a model folder.
 *
 * @param request the `stage` that asks, the model's `folder`, and its `name` for people
 * @throws StoppedError when asked to stop: the stages that call this are short and begin anew; NumericError for a
 * loss that is not finite
 */
export async function folderLoss(
  context: StageRun,
  request: { stage: string; folder: string; name: string },
  rows: EvaluationRows,
): Promise<HeldOutLoss> {
  const { device, reporter, stop } = context;
  const { stage, folder, name } = request;
  reporter.progress({ stage, note: `held-out loss of ${name}` });
  const store = openModel(folder, { device });
  try {
    const held = await meanLoss(new Decoder(store), rows, {
      onBatch: () => {
        if (!stop.requested) return;
        throw new StoppedError(`${stage}: stopped (${stop.reason}). This stage is short and begins anew.`, {
          hint: 'run the same command again',
        });
      },
    });
    if (Number.isFinite(held.loss)) return held;
    throw new NumericError(`The held-out loss of ${name} is not finite.`, {
      file: folder,
      expected: 'a finite number',
      found: String(held.loss),
      hint: 'its training diverged: a lower learning rate, or a longer warm-up',
    });
  } finally {
    store.dispose();
  }
}

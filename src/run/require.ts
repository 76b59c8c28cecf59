/** Reading the results of earlier stages. */
import { RequestError } from '../errors.js';
import { type Done, readDone } from './done.js';
import type { RunFolder } from './folder.js';

const COMMANDS: Record<string, string> = {
  merged: 'merge',
  finetuned: 'finetune',
  evaluation: 'evaluate',
  comparison: 'compare',
};

/**
 * DONE of a stage that must have been finished.
 * @throws RequestError naming the command that finishes it
 */
export function requireDone(run: RunFolder, stage: string): Done {
  const folder = run.stageFolder(stage);
  const done = readDone(folder);
  if (done !== null) return done;
  const [kind = stage, k] = stage.split('/');
  const command =
    kind === 'submodels' ? `train ${run.root} --expert ${k}` : `${COMMANDS[kind] ?? kind} ${run.root}`;
  throw new RequestError(`Stage ${stage} of this run is not finished.`, {
    file: folder,
    expected: 'a file DONE',
    hint: `disco ${command}`,
  });
}

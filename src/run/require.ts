/** Reading the results of earlier stages. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { DataError, RequestError } from '../errors.js';
import { type Done, readDone } from './done.js';
import type { RunFolder } from './folder.js';

const COMMANDS: Record<string, string> = {
  merged: 'merge',
  finetuned: 'finetune',
  evaluation: 'evaluate',
  comparison: 'compare',
};

/** The command that runs a stage. */
function commandOf(run: RunFolder, stage: string): string {
  const [kind = stage, k] = stage.split('/');
  return kind === 'submodels'
    ? `moe-disco train ${run.root} --expert ${k}`
    : `moe-disco ${COMMANDS[kind] ?? kind} ${run.root}`;
}

/**
 * DONE of a stage that must have been finished.
 * @throws RequestError naming the command that finishes it
 */
export function requireDone(run: RunFolder, stage: string): Done {
  const folder = run.stageFolder(stage);
  const done = readDone(folder);
  if (done !== null) return done;
  throw new RequestError(`Stage ${stage} of this run is not finished.`, {
    file: folder,
    expected: 'a file DONE',
    hint: commandOf(run, stage),
  });
}

/**
 * The same for a stage of which files are about to be read: they must be there in their recorded sizes. Their content
 * is not read again for that: `verify` does it.
 * @param only the names of these files; all, when they are not given
 * @throws as {@link requireDone}; DataError naming a file that is gone or was cut off
 */
export function requireFiles(run: RunFolder, stage: string, only?: readonly string[]): Done {
  const folder = run.stageFolder(stage);
  const done = requireDone(run, stage);
  for (const { name, size } of done.outputs) {
    if (only?.includes(name) === false) continue;
    const file = join(folder, name);
    const found = statSync(file, { throwIfNoEntry: false })?.size;
    if (found === size) continue;
    throw new DataError(`A file of the finished stage ${stage} is not as it was written.`, {
      file,
      expected: `${size} bytes`,
      found: found === undefined ? 'no file' : `${found} bytes`,
      hint: `bring it back, or remove the folder ${folder} and make it again: ${commandOf(run, stage)}`,
    });
  }
  return done;
}

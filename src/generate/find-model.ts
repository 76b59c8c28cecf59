/** The model folder that a user means. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { RequestError } from '../errors.js';
import { systemFailure } from '../formats/system-failure.js';
import { readReference } from '../run/refers.js';

/**
 * The model folder at `path`: itself, or, for the folder of a forked run's stage, the one that it refers to.
 *
 * @throws RequestError for anything else, naming the models below a run's folder
 */
export function findModel(path: string): string {
  const own = statSync(path, { throwIfNoEntry: false });
  if (own?.isDirectory()) {
    const folder = readReference(path)?.folder ?? path;
    if (isModel(folder)) return folder;
  }
  const below = own?.isDirectory() ? modelsBelow(path) : [];
  throw new RequestError('There is no model.', {
    file: path,
    expected: 'a Hugging Face folder with config.json, or that of a stage, such as runs/NAME/finetuned',
    found:
      own === undefined ? 'nothing there' : own.isDirectory() ? 'a folder without config.json' : 'a file',
    ...(below.length > 0 && { hint: `choose one: ${below.join(', ')}` }),
  });
}

function isModel(folder: string): boolean {
  return existsSync(join(folder, 'config.json'));
}

function modelsBelow(folder: string): string[] {
  try {
    const names = readdirSync(folder, { withFileTypes: true });
    const folders = names.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name));
    return folders.filter((name) => isModel(name) || existsSync(join(name, 'REFERS.json'))).sort();
  } catch (error) {
    throw systemFailure(error, folder, 'read');
  }
}

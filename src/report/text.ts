/** What a terminal shows of a comparison. */
import pc from 'picocolors';
import { RunFolder } from '../run/folder.js';
import { collect } from './collect.js';
import { compare } from './comparison.js';
import { toText } from './layout.js';
import { sections } from './sections.js';
import { compareRuns, sectionsOfRuns } from './several.js';

/**
 * The comparison of one run, or of several side by side, as plain text of at most 100 columns; titles are bold
 * on a terminal.
 * @throws RequestError when a folder is no run or a stage of it is not finished
 */
export function comparisonText(folders: readonly string[]): string {
  const colour = process.stdout.isTTY === true && pc.isColorSupported;
  const runs = folders.map((folder) => RunFolder.open(folder));
  const [only] = runs;
  if (only !== undefined && runs.length === 1) return toText(sections(compare(collect(only))), colour);
  return toText(sectionsOfRuns(compareRuns(runs)), colour);
}

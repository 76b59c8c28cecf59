/** The questions and examples of tasks, read from a folder of the user's or from what comes with the package. */
import { existsSync } from 'node:fs';
import { readLines } from '../../corpus/lines.js';
import { DataError } from '../../errors.js';
import { hashFile } from '../../formats/hash.js';
import { type EvalSet, type Split, splitFiles } from './files.js';
import { type Row, readRows } from './rows.js';

/** Rows of a split and what they were read from. */
interface LoadedSplit {
  rows: Row[];
  /** File -> SHA-256. */
  files: Record<string, string>;
}

/** Data sets by name. A file is read once, however many subjects it holds. */
export class EvalData {
  readonly #roots: readonly string[];
  readonly #read = new Map<string, Promise<{ rows: Row[]; sha256: string }>>();

  /**
   * @param folders where to look, in this order: folders with folders or files named as the sets, or with the files
   * of one set
   */
  constructor(folders: readonly string[]) {
    this.#roots = folders;
  }

  /**
   * Reads one split of a data set from the first folder that has it.
   *
   * @param subject only rows of this subject
   * @throws DataError where none has it, saying where to get it, and for files that are malformed
   */
  async split(set: EvalSet, split: Split, subject?: string): Promise<LoadedSplit> {
    for (const root of this.#roots) {
      const found: LoadedSplit = { rows: [], files: {} };
      for (const { file, mixed } of splitFiles(root, set, split, subject)) {
        const { rows, sha256 } = await this.#rowsOf(file);
        found.files[file] = sha256;
        for (const row of rows) {
          if (mixed && row.value.split !== split) continue;
          if (subject !== undefined && row.value.subject !== subject) continue;
          found.rows.push(row);
        }
      }
      if (found.rows.length > 0) return found;
    }
    const [name] = set.names;
    throw new DataError(`The ${split} split of ${name} is not here.`, {
      file: this.#roots.join(', '),
      expected: `${name}/ with "${split}" in the names of its .jsonl, .csv or .parquet files`,
      hint: `get ${set.hub} from the Hugging Face Hub into FOLDER/${name}, and give --data FOLDER`,
    });
  }

  #rowsOf(file: string): Promise<{ rows: Row[]; sha256: string }> {
    const known = this.#read.get(file);
    if (known !== undefined) return known;
    const read = (async () => ({
      rows: await withLabels(file, await readRows(file)),
      sha256: (await hashFile(file)).sha256,
    }))();
    this.#read.set(file, read);
    return read;
  }
}

/** PIQA keeps its labels in a file of their own: line n is the label of row n. */
async function withLabels(file: string, rows: Row[]): Promise<Row[]> {
  const labels = file.replace(/\.jsonl(\.gz|\.zst)?$/, '-labels.lst');
  if (labels === file || !existsSync(labels)) return rows;
  const found: number[] = [];
  for await (const lines of readLines(labels)) {
    for (const { text, fault } of lines) {
      if (fault !== undefined) throw fault;
      if (text.trim() !== '') found.push(Number(text));
    }
  }
  if (found.length !== rows.length) {
    throw new DataError('There are not as many labels as rows.', {
      file: labels,
      expected: String(rows.length),
      found: String(found.length),
    });
  }
  return rows.map((row, i) => ({ ...row, value: { ...row.value, label: found[i] } }));
}

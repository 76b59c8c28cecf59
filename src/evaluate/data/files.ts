/** Where the files of a data set lie, whatever their layout. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';

/** The part of a data set that a task takes its questions or its examples from. */
export type Split = 'train' | 'validation' | 'dev' | 'test';

/** A data set as people have it on their disks. */
export interface EvalSet {
  /** Its folder or file is named so, or as one of the others. */
  names: readonly [string, ...string[]];
  /** Its name on the Hub. */
  hub: string;
  /** Only files whose path matches, where some do: one configuration of several. */
  configuration?: RegExp;
}

/** A file with rows of a split. */
interface SplitFile {
  file: string;
  /** Whether it has all splits, each row naming its own. */
  mixed: boolean;
}

const DATA_FILE = /\.(jsonl|json|csv|parquet)(\.gz|\.zst)?$/;
const SPLITS: Readonly<Record<Split, RegExp>> = {
  train: /train/,
  validation: /valid|(^|[^a-z])(val|dev)([^a-z]|$)/,
  dev: /(^|[^a-z])dev([^a-z]|$)/,
  test: /test/,
};

/**
 * The files of `root` that hold a split: NAME.jsonl or NAME.jsonl.gz, in which each row names its split; else those
 * of the folder NAME, or of `root` itself, that have the split in their path.
 *
 * @param subject only that subject's, where files are named by subject
 */
export function splitFiles(root: string, set: EvalSet, split: Split, subject?: string): SplitFile[] {
  for (const name of set.names) {
    const whole = [`${name}.jsonl`, `${name}.jsonl.gz`].map((file) => join(root, file)).find(existsSync);
    if (whole !== undefined) return [{ file: whole, mixed: true }];
  }
  const named = set.names.map((name) => join(root, name)).find(existsSync);
  const base = named ?? root;
  let files = walk(base, named === undefined ? 0 : 3).filter((file) => DATA_FILE.test(file));
  const prefer = (test: (path: string) => boolean): void => {
    const chosen = files.filter((file) => test(relative(base, file)));
    if (chosen.length > 0) files = chosen;
  };
  const { configuration } = set;
  if (configuration !== undefined) prefer((path) => configuration.test(path));
  if (subject !== undefined) prefer((path) => path.split(/[/\\]/).some((part) => part.startsWith(subject)));
  return files
    .filter((file) => SPLITS[split].test(relative(base, file).toLowerCase()))
    .sort()
    .map((file) => ({ file, mixed: false }));
}

function walk(folder: string, depth: number): string[] {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isFile()) return [path];
    return entry.isDirectory() && depth > 0 ? walk(path, depth - 1) : [];
  });
}

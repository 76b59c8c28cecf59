/** Splits by the names of files and folders, as Hugging Face's `datasets` tells them where no card does. */

/** Words for the three usual splits. */
const WORDS: Readonly<Record<string, string>> = {
  train: 'train',
  training: 'train',
  validation: 'validation',
  valid: 'validation',
  dev: 'validation',
  val: 'validation',
  test: 'test',
  testing: 'test',
  eval: 'test',
  evaluation: 'test',
};

/** The split that a name has among its words, or null. */
function splitOfName(name: string): string | null {
  const word = name.split(/[ ._\-0-9]+/).find((one) => Object.hasOwn(WORDS, one));
  return word === undefined ? null : WORDS[word]!;
}

/** `data/NAME-00000-of-00012.parquet`: the only way in which files name splits of other names. */
function splitOfShard(path: string): string | null {
  return /^data\/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*$/.exec(path)?.[1] ?? null;
}

function splitOfFolders(path: string): string | null {
  const folders = path.split('/').slice(0, -1);
  return folders.map(splitOfName).find((split) => split !== null) ?? null;
}

/**
 * Files by split. The first of these rules that tells the split of any file holds for all, and files of which it
 * tells none are left out: shards in `data/`, words in the names of folders, words in the names of files. Where none
 * does, every file belongs to `train`.
 *
 * @param paths relative to the data set or configuration
 */
export function splitsByName(paths: readonly string[]): Map<string, string[]> {
  const rules = [splitOfShard, splitOfFolders, (path: string) => splitOfName(path.split('/').at(-1)!)];
  const rule = rules.find((one) => paths.some((path) => one(path) !== null)) ?? (() => 'train');
  const splits = new Map<string, string[]>();
  for (const path of paths) {
    const split = rule(path);
    if (split !== null) splits.set(split, [...(splits.get(split) ?? []), path]);
  }
  return splits;
}

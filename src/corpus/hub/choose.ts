/** Which files of a data set a path asks for, by its card or by the names of its files. */
import { DataError, RequestError } from '../../errors.js';
import { globMatcher, globRoot } from '../../formats/glob.js';
import type { HubPath } from '../../recipe/hub-path.js';
import { byBytes } from '../../recipe/source-files.js';
import { containerFormat } from '../../recipe/source-format.js';
import type { HubFile } from './cache.js';
import { type CardConfig, cardConfigs } from './card.js';
import { splitsByName } from './splits.js';

/** The files of a data set at one commit. */
export interface Tree {
  /** Those in a folder ('' for the root), or also below it; none where there is no such folder. */
  list(folder: string, recursive: boolean): Promise<HubFile[]>;
  /** A small text file. */
  read(file: HubFile): Promise<string>;
}

/** Files that a data set may hold beside its data, and that have the endings of data. */
const NO_DATA = new Set([
  'README.md',
  'dataset_infos.json',
  'dataset_info.json',
  'config.json',
  'dataset_dict.json',
]);

function isData({ path }: HubFile): boolean {
  const segments = path.split('/');
  const hidden = segments.some((segment) => segment.startsWith('.') || segment.startsWith('__'));
  return !hidden && !NO_DATA.has(segments.at(-1)!) && containerFormat(path) !== null;
}

/**
 * The files that `asked` names, sorted byte by byte for each pattern.
 *
 * @returns null where nothing chooses files and the data set has none that are read: it may be one that a program
 * makes, which the Hub has then converted
 * @throws RequestError naming the configurations, splits or files that there are; DataError for a card that cannot
 * be understood
 */
export async function chooseFiles(asked: HubPath, tree: Tree): Promise<HubFile[] | null> {
  if (asked.files !== null) return matching(asked, [asked.files], tree);
  const root = await tree.list('', false);
  const card = root.find(({ path }) => path === 'README.md');
  const configs = card === undefined ? [] : cardConfigs(await tree.read(card), `${asked.text}: README.md`);
  const config = configOf(asked, configs);
  if (config !== null && config.splits !== null) {
    const splits = new Map(config.splits.map(({ split, path }) => [split, path]));
    return matching(asked, splitOf(asked, splits), tree);
  }
  const folder = config?.folder ?? (asked.config === 'default' ? '' : (asked.config ?? ''));
  const files = (await tree.list(folder, true)).filter(isData);
  if (files.length === 0) return null;
  const byPath = new Map(files.map((file) => [file.path.slice(folder === '' ? 0 : folder.length + 1), file]));
  const splits = splitsByName([...byPath.keys()].sort(byBytes));
  return splitOf(asked, splits).map((path) => byPath.get(path)!);
}

/** The configuration that is asked for, or the one that is meant where none is; null where the card has none. */
function configOf(asked: HubPath, configs: readonly CardConfig[]): CardConfig | null {
  if (configs.length === 0) return null;
  const named = configs.find(({ name }) => name === asked.config);
  const meant =
    configs.find(({ isDefault }) => isDefault) ??
    configs.find(({ name }) => name === 'default') ??
    (configs.length === 1 ? configs[0] : undefined);
  const config = asked.config === null ? meant : named;
  if (config !== undefined) return config;
  throw new RequestError(
    asked.config === null
      ? 'The data set has several configurations.'
      : 'The data set has no such configuration.',
    {
      key: asked.text,
      expected: `one of ${listed(configs.map(({ name }) => name))}`,
      hint: `hf://datasets/${asked.owner}/${asked.name}/CONFIG:SPLIT`,
    },
  );
}

/** What belongs to the split that is asked for, or to the only one. */
function splitOf<T>(asked: HubPath, splits: ReadonlyMap<string, T>): T {
  const names = [...splits.keys()];
  const name = asked.split ?? (names.length === 1 ? names[0]! : null);
  const found = name === null ? undefined : splits.get(name);
  if (found !== undefined) return found;
  throw new RequestError(
    name === null ? 'The data set has several splits.' : 'The data set has no such split.',
    {
      key: asked.text,
      expected: `one of ${listed(names)}`,
      hint: `hf://datasets/${asked.owner}/${asked.name}${asked.config === null ? '' : `/${asked.config}`}:SPLIT`,
    },
  );
}

function listed(names: readonly string[]): string {
  return names.length <= 20
    ? names.join(', ')
    : `${names.slice(0, 20).join(', ')} and ${names.length - 20} more`;
}

/** The files that match patterns, pattern by pattern, each file once. */
async function matching(asked: HubPath, patterns: readonly string[], tree: Tree): Promise<HubFile[]> {
  const found = new Map<string, HubFile>();
  for (const pattern of patterns) {
    const matches = globMatcher(pattern);
    const listedFiles = await tree.list(
      globRoot(pattern),
      pattern.slice(globRoot(pattern).length + 1).includes('/') || pattern.includes('**'),
    );
    const files = listedFiles.filter(({ path }) => matches(path)).sort((a, b) => byBytes(a.path, b.path));
    if (files.length === 0) {
      throw new RequestError('The data set has no such file.', { key: asked.text, expected: pattern });
    }
    for (const file of files) found.set(file.path, file);
  }
  const unread = [...found.keys()].find((path) => containerFormat(path) === null);
  if (unread !== undefined) {
    throw new DataError('The data set has files of a format that is not read.', {
      key: asked.text,
      expected: 'text, JSON lines or Parquet',
      found: unread,
    });
  }
  return [...found.values()];
}

/** Configurations of a data set by the `configs` of its card, the YAML at the top of README.md. */
import { parse } from 'yaml';
import { z } from 'zod';
import { DataError } from '../../errors.js';
import { isSafePath } from './cache.js';

const patterns = z.union([z.string(), z.array(z.string()).min(1)]).transform((value) => [value].flat());
const splitFiles = z.object({ split: z.string(), path: patterns });
const configSchema = z.object({
  config_name: z.union([z.string(), z.number().transform(String)]),
  default: z.boolean().default(false),
  data_dir: z.string().optional(),
  data_files: z
    .union([
      z.array(splitFiles).min(1),
      patterns.transform((path) => [{ split: 'train', path }]),
      z
        .record(z.string(), patterns)
        .transform((splits) => Object.entries(splits).map(([split, path]) => ({ split, path }))),
    ])
    .optional(),
});
const cardSchema = z.object({ configs: z.union([configSchema, z.array(configSchema)]).nullish() });

/** A configuration: patterns of files by split, or a folder whose names tell the splits. */
export interface CardConfig {
  name: string;
  isDefault: boolean;
  /** Relative to the data set; '' for all of it. */
  folder: string;
  splits: { split: string; path: string[] }[] | null;
}

/**
 * The configurations that a card names; none where it names none.
 * @throws DataError where they cannot be understood, or a pattern leaves the data set
 */
export function cardConfigs(readme: string, file: string): CardConfig[] {
  const yaml = /^\uFEFF?---[ \t]*\r?\n([\s\S]*?)\r?\n---[ \t]*(\r?\n|$)/.exec(readme)?.[1];
  if (yaml === undefined) return [];
  const bad = (found: string): DataError =>
    new DataError("The data set's card cannot be understood.", {
      file,
      key: 'configs',
      found,
      hint: 'name its files instead: hf://datasets/OWNER/NAME/FOLDER/*.parquet',
    });
  let data: unknown;
  try {
    data = parse(yaml, { logLevel: 'error' }) ?? {};
  } catch (error) {
    throw bad((error as Error).message.split('\n')[0]!);
  }
  const parsed = cardSchema.safeParse(data);
  if (!parsed.success) throw bad(z.prettifyError(parsed.error).split('\n').join(' '));
  return [parsed.data.configs ?? []].flat().map((config) => {
    const folder = (config.data_dir ?? '').replace(/^\.\/|\/+$/g, '');
    const within = (path: string): string =>
      (folder === '' ? path : `${folder}/${path}`).replace(/^\.\//, '');
    const splits = config.data_files?.map(({ split, path }) => ({ split, path: path.map(within) })) ?? null;
    const paths = [...(folder === '' ? [] : [folder]), ...(splits ?? []).flatMap(({ path }) => path)];
    const outside = paths.find((path) => !isSafePath(path) || path.includes('://'));
    if (outside !== undefined) throw bad(`the path ${outside}`);
    return { name: config.config_name, isDefault: config.default, folder, splits };
  });
}

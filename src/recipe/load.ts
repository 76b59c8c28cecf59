/**
 * Loading a recipe: YAML, overrides, schema, files and cross checks. Every fault that can be found without
 * training is found here, and all of them are reported in one error.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isMap, isScalar, isSeq, LineCounter, parseDocument, stringify } from 'yaml';
import { EnvironmentError, isSystemError, RequestError } from '../errors.js';
import { checkRecipe } from './check.js';
import { type Fault, faultsOf, recipeError, show } from './faults.js';
import { parseOverride, withOverride } from './overrides.js';
import { absolutePaths, fileFaults, missingFiles } from './paths.js';
import { type Recipe, recipeSchema } from './schema.js';

/** A recipe that was loaded, and what is to be said about it. */
export interface LoadedRecipe {
  recipe: Recipe;
  /** Sentences for the user; none of them stops the run. */
  warnings: string[];
  source: {
    /** Absolute path of the recipe's file. */
    file: string;
    /** Where the model's configuration stands: the config.json that the recipe names, or the recipe. */
    config: string;
    overrides: string[];
    /** Files that the recipe names and that are not there; empty unless `files` is `report`. */
    missing: Fault[];
  };
}

export interface LoadOptions {
  /**
   * Files that the recipe names: `require` makes a missing one a fault, `report` lists it, `ignore` does not
   * look (a run folder carried to another machine needs its corpus text no more).
   */
  files?: 'require' | 'report' | 'ignore';
}

type Position = (key: string) => string | null;

function readText(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') {
      throw new RequestError('There is no such recipe.', {
        file,
        hint: 'shipped recipes lie in recipes/',
        cause: error,
      });
    }
    if (error.code === 'EISDIR')
      throw new RequestError('A recipe is a file, not a folder.', { file, cause: error });
    throw new EnvironmentError('The recipe cannot be read.', { file, found: error.message, cause: error });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new RequestError('The recipe is not UTF-8 text.', { file, cause });
  }
}

/** YAML text to plain data, and where each key stands in it. */
function parseYaml(text: string, file: string): { data: unknown; position: Position } {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  if (document.errors.length > 0) {
    const faults = document.errors.map((error): string => {
      const at = error.linePos?.[0];
      return `${at === undefined ? '' : `line ${at.line}, column ${at.col}: `}${error.message.split('\n')[0]}`;
    });
    throw new RequestError(`The recipe is not YAML: ${faults.join('; ')}`, { file });
  }
  const position: Position = (key) => {
    let node: unknown = document.contents;
    let offset: number | undefined;
    for (const name of key === '' ? [] : key.split('.')) {
      if (isMap(node)) {
        const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === name);
        if (pair === undefined) break;
        if (isScalar(pair.key)) offset = pair.key.range?.[0];
        node = pair.value;
      } else if (isSeq(node)) {
        node = node.items[Number(name)];
      } else break;
    }
    if (offset === undefined) return null;
    const { line, col } = lines.linePos(offset);
    return `${line}:${col}`;
  };
  try {
    return { data: document.toJS(), position };
  } catch (cause) {
    throw new RequestError('The recipe is not YAML that can be read.', { file, found: String(cause), cause });
  }
}

/** The file that `model.config` names; null where the configuration stands in the recipe itself. */
function configFile(data: unknown): string | null {
  const model = (data as { model?: unknown } | null)?.model as { config?: unknown } | null | undefined;
  return typeof model?.config === 'string' ? model.config : null;
}

/** The config.json that `model.config` names, in its place; with a fault where it is none. */
function withConfig(data: unknown, faults: Fault[]): unknown {
  const file = configFile(data);
  if (file === null) return data;
  let config: unknown;
  try {
    const text = readFileSync(file, 'utf8');
    if (text === '') return data; // reported with the other files that are missing or empty
    config = JSON.parse(text);
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return data; // likewise
    faults.push({
      key: 'model.config',
      message: 'not a config.json that can be read',
      found: file,
      hint: (error as Error).message,
    });
    return data;
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    faults.push({
      key: 'model.config',
      message: 'not a config.json',
      expected: 'a JSON object',
      found: show(config),
    });
    return data;
  }
  const { model } = data as { model: object };
  return { ...(data as object), model: { ...model, config } };
}

/**
 * Plain data (paths absolute) to a recipe with its warnings.
 * @throws RequestError with every fault
 */
function resolveData(
  raw: unknown,
  file: string,
  position: Position,
  files: LoadOptions['files'],
): LoadedRecipe {
  const faults: Fault[] = [];
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    throw recipeError(file, [
      { key: '', message: 'it is no mapping of keys', expected: 'keys and values', found: show(raw) },
    ]);
  }
  const missing = files === 'ignore' ? [] : missingFiles(raw);
  if (files !== 'report') faults.push(...missing);
  const data = withConfig(raw, faults);
  const parsed = recipeSchema.safeParse(data);
  if (!parsed.success) {
    faults.unshift(...faultsOf(parsed.error, data));
    throw recipeError(file, faults, position);
  }
  const { config } = parsed.data.model;
  if (typeof config === 'string') {
    throw recipeError(file, faults.length > 0 ? faults : missingFiles(raw), position);
  }
  const recipe: Recipe = { ...parsed.data, model: { config } };
  const result = checkRecipe(recipe);
  faults.push(...result.faults);
  if (files !== 'ignore') faults.push(...fileFaults(recipe));
  if (faults.length > 0) throw recipeError(file, faults, position);
  return {
    recipe,
    warnings: result.warnings,
    source: {
      file,
      config: configFile(raw) ?? file,
      overrides: [],
      missing: files === 'report' ? missing : [],
    },
  };
}

/**
 * Loads the recipe in `file`. Paths in it are relative to the file, paths in `overrides` to the working
 * directory; both are absolute in the result.
 * @param overrides texts of the form `key.path=value`
 * @throws RequestError naming file, line, key, what was expected and found, for all faults at once
 */
export function loadRecipe(
  file: string,
  overrides: readonly string[] = [],
  options: LoadOptions = {},
): LoadedRecipe {
  const absolute = resolve(file);
  const { data, position } = parseYaml(readText(absolute), absolute);
  let raw = absolutePaths(data, dirname(absolute));
  const changed: string[] = [];
  for (const text of overrides) {
    const override = parseOverride(text);
    if (override.path[0] === 'model' && override.path[1] === 'config' && override.path.length > 2) {
      raw = withConfig(raw, []);
    }
    const alone = absolutePaths(withOverride({}, override), process.cwd());
    const value = override.path.reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], alone);
    raw = withOverride(raw, { path: override.path, value });
    changed.push(override.path.join('.'));
  }
  // A value that came from the command line stands on no line of the file.
  const inFile: Position = (key) =>
    changed.some((one) => key === one || key.startsWith(`${one}.`)) ? null : position(key);
  const loaded = resolveData(raw, absolute, inFile, options.files ?? 'require');
  return { ...loaded, source: { ...loaded.source, overrides: [...overrides] } };
}

/**
 * A recipe given as plain data, as library callers have it.
 * @param base folder that relative paths are relative to
 * @throws RequestError with every fault
 */
export function resolveRecipe(data: unknown, base = process.cwd(), options: LoadOptions = {}): Recipe {
  return resolveData(absolutePaths(data, base), '(recipe)', () => null, options.files ?? 'require').recipe;
}

/** The resolved recipe as YAML: every default written out, equal recipes equal text. Loads back to itself. */
export function toYaml(recipe: Recipe): string {
  const config = Object.fromEntries(Object.entries(recipe.model.config).sort(([a], [b]) => (a < b ? -1 : 1)));
  // The schema's order of keys, whatever order the caller's object has.
  const ordered = recipeSchema.parse({ ...recipe, model: { config } });
  return stringify(ordered, { lineWidth: 0 });
}

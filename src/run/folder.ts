/** The run folder: a resolved recipe and one folder per stage. It is the only thing that stages share. */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { DataError, RequestError } from '../errors.js';
import { isTemporary, writeFileAtomic, writeJson } from '../formats/atomic.js';
import { systemFailure } from '../formats/system-failure.js';
import { type Difference, differences } from './differences.js';
import { readReference } from './refers.js';
import { checkFormat, FORMAT, readVersioned } from './versioned.js';
import { isTouched } from './work.js';

/** The stages of Algorithm 1 and of the comparison, by the names of their folders. */
export type StageName =
  | 'corpus'
  | 'partition'
  | 'init'
  | 'seed'
  | `submodels/${number}`
  | 'merged'
  | 'finetuned'
  | 'baseline'
  | 'evaluation'
  | 'comparison';

const ORDER = [
  'corpus',
  'partition',
  'init',
  'seed',
  'submodels',
  'merged',
  'finetuned',
  'baseline',
  'evaluation',
  'comparison',
];

const STAGE_NAME = /^[a-z][a-z0-9-]*(\/[a-z0-9-]+)?$/;

const parentsSchema = z.looseObject({ format: z.literal(FORMAT), parents: z.array(z.string()) });

/** Recipe keys that only say how, how often saved, or under which name: a run goes on when they change. */
function isExecutionKey(key: string): boolean {
  return /^(name|(execution|budget|evaluation)(\..*)?|train\.(microBatch|checkpointMinutes|checkpointSteps))$/.test(
    key,
  );
}

function parseRecipe(file: string, text: string): unknown {
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw new DataError(`Not YAML: ${file}`, { file, found: (error as Error).message, cause: error });
  }
  checkFormat(file, value);
  return value;
}

/** The command that makes a run with the new values, where they are few and short enough to be typed. */
function forkCommand(root: string, list: readonly Difference[]): string {
  const typed = list.every(({ after }) => after !== 'nothing' && !after.endsWith('...'));
  const values = list.map(({ key, after }) =>
    /^[\w.+-]+$/.test(after) ? `${key}=${after}` : `'${key}=${after}'`,
  );
  return `moe-disco fork ${root} NEW ${typed && list.length <= 4 ? values.join(' ') : 'key=value ...'}`;
}

/** A stage's place in a run. */
export interface StageFolder {
  name: string;
  /** The stage's own folder in this run: where it is locked, made and finished. */
  own: string;
  /** Where its result lies: the same, or another run's folder that it refers to. */
  folder: string;
  /** A path in {@link StageFolder.folder}. */
  path(...parts: string[]): string;
}

export class RunFolder {
  /** Absolute path. */
  readonly root: string;

  /** A view of a folder; nothing is read. Use {@link RunFolder.open} for a run that must exist. */
  constructor(root: string) {
    this.root = resolve(root);
  }

  /**
   * An existing run.
   * @throws RequestError when the folder has no recipe.yaml, DataError when that is of a newer format.
   */
  static open(root: string): RunFolder {
    const run = new RunFolder(root);
    if (!existsSync(run.recipeFile)) {
      throw new RequestError(`${root} is not a run folder.`, {
        file: run.recipeFile,
        expected: 'a recipe.yaml',
        hint: 'moe-disco run RECIPE makes one',
      });
    }
    run.readRecipe();
    return run;
  }

  /**
   * Makes a run folder with its resolved recipe, or opens the one that is there. Keys that only say how the run
   * is executed (`execution`, `budget`, micro-batch, checkpoint intervals) or what is evaluated besides may differ;
   * the new values are then recorded. A run in which no stage has made anything yet, because its recipe or its data
   * was wrong, takes the new recipe.
   *
   * @param complete fills the defaults of a recipe that an older version has written: a key that is newer than
   * the run is no difference where it has its default
   * @throws RequestError when the folder holds something else or was made by another recipe, naming the keys.
   */
  static create(
    root: string,
    resolvedRecipe: string,
    parents: readonly string[] = [],
    complete: (recipe: unknown) => unknown = (recipe) => recipe,
  ): RunFolder {
    const run = new RunFolder(root);
    const wanted = parseRecipe(run.recipeFile, resolvedRecipe);
    if (existsSync(run.recipeFile)) {
      const touched = run.#stageFolders().some((name) => isTouched(run.path(name)));
      if (touched || parents.length > 0) {
        run.#refuseOtherRecipe(complete(run.readRecipe()), wanted, parents.length > 0);
      }
      if (run.#recipeText() !== resolvedRecipe) writeFileAtomic(run.recipeFile, resolvedRecipe);
      return run;
    }
    try {
      mkdirSync(run.root, { recursive: true });
    } catch (error) {
      throw systemFailure(error, run.root, 'write');
    }
    const foreign = readdirSync(run.root).find((name) => !isTemporary(name) && name !== 'parents.json');
    if (foreign !== undefined && foreign !== 'recipe.yaml') {
      throw new RequestError(`${root} is not empty and not a run folder.`, {
        file: run.root,
        found: foreign,
        hint: 'name another folder',
      });
    }
    if (parents.length > 0) {
      const paths = parents.map((parent) => relative(run.root, resolve(parent)));
      writeJson(run.path('parents.json'), { format: FORMAT, parents: paths });
    }
    writeFileAtomic(run.recipeFile, resolvedRecipe);
    return run;
  }

  get recipeFile(): string {
    return join(this.root, 'recipe.yaml');
  }

  /** The resolved recipe as plain data. Throws DataError when it cannot be read. */
  readRecipe(): unknown {
    return parseRecipe(this.recipeFile, this.#recipeText());
  }

  /** Runs whose finished stages this one may refer to, nearest first; absolute paths. */
  get parents(): string[] {
    const found = readVersioned(this.path('parents.json'), parentsSchema);
    return (found?.parents ?? []).map((parent) => resolve(this.root, parent));
  }

  /** A path below the root. */
  path(...parts: string[]): string {
    return join(this.root, ...parts);
  }

  /**
   * A stage's folders. Where it refers to another run's, that reference is checked.
   * @throws DataError as {@link readReference}; RequestError for a name that is no stage's.
   */
  stage(name: StageName | string): StageFolder {
    if (!STAGE_NAME.test(name)) throw new RequestError(`${name} is not the name of a stage.`);
    const own = this.path(name);
    const folder = existsSync(join(own, 'DONE')) ? own : (readReference(own)?.folder ?? own);
    return { name, own, folder, path: (...parts) => join(folder, ...parts) };
  }

  /** {@link StageFolder.folder} of a stage. */
  stageFolder(name: StageName | string): string {
    return this.stage(name).folder;
  }

  /** Names of the stages that have begun in this run or are referred to, in the order of Algorithm 1. */
  stages(): string[] {
    const begun = (name: string) =>
      ['DONE', 'REFERS.json', 'manifest.json'].some((file) => existsSync(this.path(name, file)));
    const rank = (name: string) => ORDER.indexOf(name.split('/')[0]!) + 1 || ORDER.length + 1;
    return this.#stageFolders()
      .filter(begun)
      .sort((a, b) => rank(a) - rank(b) || a.localeCompare(b, 'en', { numeric: true }));
  }

  /** Names of all folders in which a stage may lie. */
  #stageFolders(): string[] {
    const folders = (path: string) =>
      existsSync(path)
        ? readdirSync(path, { withFileTypes: true }).flatMap((entry) =>
            entry.isDirectory() ? [entry.name] : [],
          )
        : [];
    const names = folders(this.root).flatMap((name) => [
      name,
      ...folders(this.path(name)).map((k) => `${name}/${k}`),
    ]);
    return names.filter((name) => STAGE_NAME.test(name));
  }

  #recipeText(): string {
    try {
      return readFileSync(this.recipeFile, 'utf8');
    } catch (error) {
      throw systemFailure(error, this.recipeFile, 'read');
    }
  }

  /** @param forked whether a fork is being made here, which can as well be made elsewhere */
  #refuseOtherRecipe(made: unknown, wanted: unknown, forked: boolean): void {
    const list = differences(made, wanted).filter(({ key }) => !isExecutionKey(key));
    const first = list[0];
    if (first === undefined) return;
    const lines = list.slice(0, 8).map(({ key, before, after }) => `  ${key}: ${before} there, ${after} now`);
    if (list.length > 8) lines.push(`  and ${list.length - 8} more`);
    throw new RequestError([`${this.root} was made by another recipe:`, ...lines].join('\n'), {
      file: this.recipeFile,
      key: first.key,
      expected: first.before,
      found: first.after,
      hint: forked
        ? 'name another folder for the new run'
        : `${forkCommand(this.root, list)} makes a run that keeps what is still valid`,
    });
  }
}

/**
 * Makes a run from another one with a changed recipe. Every stage whose key is unchanged will be referred to
 * instead of being run again; see runStage.
 * @throws RequestError when `root` exists and is something else.
 */
export function fork(
  run: RunFolder,
  root: string,
  resolvedRecipe: string,
  complete?: (recipe: unknown) => unknown,
): RunFolder {
  if (resolve(root) === run.root)
    throw new RequestError('A run cannot be forked into its own folder.', { file: run.root });
  return RunFolder.create(root, resolvedRecipe, [run.root, ...run.parents], complete);
}

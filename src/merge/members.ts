/** Submodels that are plain folders: opened, and compared with one another and with what they were split from. */
import { basename, dirname, join, resolve } from 'node:path';
import { type Origin, readOrigin, routerFileOf } from '../convert/origin.js';
import { parentHash } from '../convert/parents.js';
import { DataError, RequestError } from '../errors.js';
import { hasWeights } from '../formats/hf-folder.js';
import { type ModelConfig, parseModelConfig } from '../model/config.js';
import { type ModelFolder, openModelFolder, readModelConfig } from '../model/model-folder.js';
import { type Done, readDone } from '../run/done.js';
import { refuseOtherConfig } from './siblings.js';

/** One of the folders that are merged. */
export interface Member {
  /** The last two parts of its path. */
  name: string;
  model: ModelFolder;
  /** Which expert's submodel it is: as it says, else by its place. */
  expert: number;
  /** What it says of the model that it was split from. */
  origin: Origin | null;
  /** DONE, where it is a stage of a run. */
  done: Done | null;
}

/** The folders, open, and the whole model that they shall make up. */
export interface Members {
  config: ModelConfig;
  members: Member[];
  /** The model that they were made from, where it is given and has weights. */
  original: ModelFolder | null;
  /** Whether each says from which weights it began, all from the same. */
  proven: boolean;
  close(): void;
}

/**
 * Opens the folders of submodels 0, 1, ... in this order.
 *
 * @param original the model that they were made from: its configuration, and its weights where it has any
 * @throws RequestError where the configuration of the whole is not known, or the folders are not one of each expert in
 * order, or began from other weights; DataError for folders that do not fit
 */
export function openMembers(folders: readonly string[], original: string | undefined): Members {
  const opened: ModelFolder[] = [];
  const close = () => {
    for (const { weights } of opened) weights.close();
  };
  try {
    const origins = folders.map(readOrigin);
    const config = wholeConfig(folders, origins, original);
    const members = folders.map((folder, k): Member => {
      refuseOtherConfig(folder, config);
      const model = openModelFolder(folder);
      opened.push(model);
      const path = resolve(folder);
      const name = join(basename(dirname(path)), basename(path));
      const [origin = null, done] = [origins[k], readDone(folder)];
      const stage = /^submodels\/(\d+)$/.exec(done?.stage ?? '');
      const expert = origin?.expert ?? (stage === null ? k : Number(stage[1]));
      return { name, model, expert, origin, done };
    });
    if (members.length > 1) refuseDisorder(members, config.numExperts);
    else refuseOtherCount(1, config.numExperts);
    refuseOtherTypes(members);
    const proven = refuseStrangers(members);
    const whole = original !== undefined && hasWeights(original) ? openModelFolder(original) : null;
    if (whole !== null) opened.push(whole);
    return { config, members, original: whole, proven, close };
  } catch (error) {
    close();
    throw error;
  }
}

function wholeConfig(
  folders: readonly string[],
  origins: readonly (Origin | null)[],
  original: string | undefined,
): ModelConfig {
  if (original !== undefined) return readModelConfig(original).config;
  const at = origins.findIndex((origin) => origin !== null);
  if (at >= 0) return parseModelConfig(origins[at]!.config, join(folders[at]!, 'split', 'origin.json'));
  throw new RequestError('Nothing says what model these folders make up.', {
    file: folders[0]!,
    expected: 'a folder that split has written, or --original',
    found: 'no split/origin.json',
    hint: '--original FOLDER: the model that they were made from, or a folder with its config.json (RUN/init)',
  });
}

/** One folder stands for every expert; several must be as many as there are experts. */
function refuseOtherCount(found: number, experts: number): void {
  if (found === 1 || found === experts) return;
  throw new RequestError('The number of folders is not that of the experts.', {
    expected: `${experts} folders, or one for all experts`,
    found: String(found),
  });
}

/** Folder k must be that of expert k, where it says whose it is: the router's rows are in that order. */
function refuseDisorder(members: readonly Member[], experts: number): void {
  refuseOtherCount(members.length, experts);
  for (const [k, { name, expert, model }] of members.entries()) {
    if (expert === k) continue;
    throw new RequestError('The folders are not in the order of the experts.', {
      file: model.folder,
      expected: `expert ${k} at place ${k}, counted from 0`,
      found: `${name} is expert ${expert}`,
      hint: 'name the folders in the order of their experts, each once',
    });
  }
}

/** An average of models from different initialisations is noise. @returns whether all say what they began from */
function refuseStrangers(members: readonly Member[]): boolean {
  const starts = members.map(({ origin, done }) => {
    if (origin !== null) return parentHash(origin.parent);
    return done?.inputs.shared ?? null;
  });
  const first = starts.findIndex((start) => start !== null);
  const other = starts.findIndex((start) => start !== null && start !== starts[first]);
  if (other >= 0) {
    throw new RequestError('The folders are no siblings: they began from other weights.', {
      file: members[other]!.model.folder,
      expected: `${starts[first]}, as ${members[first]!.name}`,
      found: starts[other]!,
      hint: 'an average of models from different initialisations is noise: split one model, and train its parts',
    });
  }
  return starts.every((start) => start !== null);
}

/** The same tensor must have the same type in all. */
function refuseOtherTypes(members: readonly Member[]): void {
  const [first, ...others] = members.map(({ model }) => model.weights);
  for (const weights of others) {
    for (const name of weights.names) {
      const [expected, found] = [first!.info(name).dtype, weights.info(name).dtype];
      if (expected === found) continue;
      throw new DataError('A tensor has another type than in the first folder.', {
        file: weights.file(name),
        key: name,
        expected,
        found,
        hint: 'moe-disco convert FOLDER --dtype gives all tensors one type',
      });
    }
  }
}

/** The first router of the whole model that a folder carries, or null. */
export function carriedRouter(members: readonly Member[]): string | null {
  for (const { model } of members) {
    const file = routerFileOf(model.folder);
    if (file !== null) return file;
  }
  return null;
}

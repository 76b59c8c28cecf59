/** What a corpus is made from: the files of its sources, their hashes, and the commits of data sets on the Hub. */
import { existsSync } from 'node:fs';
import { DataError } from '../errors.js';
import type { Json } from '../formats/hash.js';
import { isHubPath } from '../recipe/hub-path.js';
import type { Recipe, Source } from '../recipe/schema.js';
import { containerFormat } from '../recipe/source-format.js';
import type { HubOptions } from './hub/client.js';
import { listSource, type SourceFile, type SourceListing } from './sources.js';
import { SPLITS, type Split } from './split.js';

/** Commits of data sets on the Hub, by their paths in the recipe. */
export type Commits = Readonly<Record<string, string>>;

/** A corpus that was finished before. */
export interface FinishedInputs {
  inputs: Readonly<Record<string, string>>;
  reads: Json;
  commits: Commits;
}

export interface CorpusInputs {
  /** `train/0`: hash of the content. Part of the key. */
  hashes: Record<string, string>;
  /** What of each source of the recipe determines the result, its content apart. Part of the key. */
  reads: Record<Split, Json>;
  /** By split; none of a source that is not here any more. */
  files: Partial<Record<Split, SourceFile[]>>;
  commits: Commits;
}

/**
 * Lists and hashes the sources of a corpus. Of a source that is gone since the corpus was finished, or that lies on
 * the Hub at a commit that was recorded then, what was recorded is taken, and no network is asked.
 *
 * @param pins commits of an attempt before, with which this one goes on
 * @throws DataError for a file that is missing; what {@link listSource} throws
 */
export async function corpusInputs(
  corpus: Recipe['corpus'],
  finished: FinishedInputs | null,
  pins: Commits,
  hub: HubOptions,
): Promise<CorpusInputs> {
  const result: CorpusInputs = {
    hashes: {},
    reads: { train: null, validation: null, test: null },
    files: {},
    commits: {},
  };
  for (const split of SPLITS) {
    const source = corpus[split];
    if (source === null) continue;
    const before = Object.entries(finished?.inputs ?? {}).filter(([name]) => name.startsWith(`${split}/`));
    const listing = await listUnlessGone(source, before.length > 0 ? finished : null, pins, hub);
    if (listing === null) {
      Object.assign(result.hashes, Object.fromEntries(before));
      const formats = recordedFormats(finished!.reads, split);
      result.reads[split] = readsOf(source, before.length, formats);
      const paths = [source.path].flat().filter((path) => finished!.commits[path] !== undefined);
      result.commits = {
        ...result.commits,
        ...Object.fromEntries(paths.map((path) => [path, finished!.commits[path]!])),
      };
      continue;
    }
    const { files, commits } = listing;
    const known = Object.fromEntries(before);
    for (const [i, file] of files.entries()) {
      const name = `${split}/${i}`;
      // One of several files may be gone as well.
      const recorded = isHubPath(file.name) || existsSync(file.name) ? undefined : known[name];
      result.hashes[name] = recorded ?? (await file.hash());
    }
    result.reads[split] = readsOf(source, files.length, formatsOf(files));
    result.files[split] = files;
    result.commits = { ...result.commits, ...commits };
  }
  return result;
}

/** The files of a source, or null where they are not here but were when the corpus was finished. */
async function listUnlessGone(
  source: Source,
  finished: FinishedInputs | null,
  pins: Commits,
  hub: HubOptions,
): Promise<SourceListing | null> {
  if (finished === null) return listSource(source, hub, pins);
  const paths = [source.path].flat();
  if (paths.every((path) => finished.commits[path] !== undefined)) return null;
  try {
    const listing = await listSource(source, hub, { ...pins, ...finished.commits });
    const isHere = listing.files.some(({ name }) => isHubPath(name) || existsSync(name));
    return isHere ? listing : null;
  } catch (error) {
    if (error instanceof DataError && !paths.some(isHubPath)) return null;
    throw error;
  }
}

/** The formats of files by their names, each once. */
function formatsOf(files: readonly SourceFile[]): string[] {
  return [...new Set(files.map(({ name }) => containerFormat(name) ?? 'unknown'))].sort();
}

function recordedFormats(reads: Json, split: Split): Json {
  const source = (reads as Record<string, Json>)[split] as Record<string, Json> | null | undefined;
  return source?.formats ?? [];
}

/** Keys that a source had before there were others are left out where they have their defaults, so that keys stay. */
function readsOf(source: Source, files: number, formats: Json): Json {
  const { format, textField, onBadDocument } = source;
  const hasField = format === 'jsonl' || format === 'parquet' || format === 'auto';
  return {
    files,
    format,
    ...(format === 'auto' && { formats }),
    ...((hasField || (format === 'wikitext' && textField !== 'text')) && { textField }),
    ...(onBadDocument === 'skip' && { onBadDocument }),
  };
}

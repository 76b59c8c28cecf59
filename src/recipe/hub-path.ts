/** Paths of data sets on the Hugging Face Hub: `hf://datasets/OWNER/NAME[@REVISION][/WHAT][:SPLIT]`. */
import { isGlob } from '../formats/glob.js';
import { containerFormat } from './source-format.js';

const SCHEME = 'hf://';
const EXPECTED = 'hf://datasets/OWNER/NAME[@REVISION][/CONFIG][:SPLIT]';

/** A data set, and what of it. */
export interface HubPath {
  /** As it stands in the recipe. */
  text: string;
  owner: string;
  name: string;
  /** Branch, tag, commit, or `refs/...`; `main` where none is given. */
  revision: string;
  /** A configuration of the data set, or the folder of that name. */
  config: string | null;
  split: string | null;
  /** A file, or a pattern of files, instead of configuration and split. */
  files: string | null;
}

/** Whether a path of a recipe lies on the Hub. */
export function isHubPath(path: string): boolean {
  return path.startsWith(SCHEME);
}

/** The parts of a path on the Hub, or what is wrong with it. */
export function parseHubPath(text: string): HubPath | { expected: string; hint?: string } {
  const match =
    /^hf:\/\/datasets\/([A-Za-z0-9][\w.-]*)\/([A-Za-z0-9][\w.-]*)(?:@(refs\/[\w-]+\/[\w.-]+|[\w.%-]+))?(?:\/([^:]+))?(?::([\w.-]+))?$/.exec(
      text,
    );
  if (match === null) return { expected: EXPECTED };
  const [, owner, name, revision, what, split] = match;
  // The way of writing refs/pr/1 in one segment of a path.
  const ref = revision?.replaceAll('%2F', '/') ?? 'main';
  const segments = [...ref.split('/'), ...(what?.split('/') ?? ['x'])];
  if (
    segments.some((segment) => segment === '' || segment === '.' || segment === '..' || segment.includes('%'))
  ) {
    return { expected: EXPECTED };
  }
  const isFile = what !== undefined && (isGlob(what) || containerFormat(what) !== null);
  if (isFile && split !== undefined) {
    return { expected: EXPECTED, hint: 'files are given, so there is no split to choose' };
  }
  return {
    text,
    owner: owner!,
    name: name!,
    revision: ref,
    config: isFile ? null : (what ?? null),
    split: split ?? null,
    files: isFile ? what : null,
  };
}

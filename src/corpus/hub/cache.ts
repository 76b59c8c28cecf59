/**
 * The cache of Hugging Face's own tools: `blobs/HASH`, `snapshots/COMMIT/PATH` linking there, `refs/REVISION`
 * naming a commit. What others downloaded is used here, and the other way round. Beside them, in `.moe-disco`, lies
 * which files were chosen, so that the choice can be repeated without a network.
 */
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { z } from 'zod';
import { DataError, isSystemError } from '../../errors.js';
import { readJson, writeFileAtomic, writeJson } from '../../formats/atomic.js';
import { sha256 } from '../../formats/hash.js';
import { systemFailure } from '../../formats/system-failure.js';

const COMMIT = /^[0-9a-f]{40}$/;

/** A file of a data set at some commit. */
export const hubFileSchema = z.object({
  /** Relative to the data set; {@link isSafePath}. */
  path: z.string().refine(isSafePath, 'expected a relative path that stays within its folder'),
  size: z.int().nonnegative(),
  /** SHA-256 of its content, or the hash that git has for it (SHA-1 of a header and the content). */
  hash: z.string().regex(/^([0-9a-f]{64}|[0-9a-f]{40})$/),
});
export type HubFile = z.output<typeof hubFileSchema>;

const choiceSchema = z.object({
  format: z.literal(1),
  commit: z.string().regex(COMMIT),
  files: z.array(hubFileSchema).min(1),
});

/** Files that were chosen, and the commit that they are of. */
export type Choice = z.output<typeof choiceSchema>;

/** Whether a path from a server stays within the folder it is joined to. */
export function isSafePath(path: string): boolean {
  const segments = path.split('/');
  return (
    path.length <= 4096 &&
    !/[\0\\]/.test(path) &&
    segments.every((segment) => segment !== '' && segment !== '.' && segment !== '..')
  );
}

/** Whether a revision is a commit. */
export function isCommit(revision: string): boolean {
  return COMMIT.test(revision);
}

/** The folder of one data set in the cache. */
export class RepoCache {
  readonly folder: string;
  /** Where Hugging Face's tools keep their locks of this data set. */
  readonly locks: string;

  constructor(cache: string, owner: string, name: string) {
    const own = `datasets--${owner}--${name}`;
    this.folder = join(cache, own);
    this.locks = join(cache, '.locks', own);
  }

  /** The commit that a revision was resolved to when it was last asked for, or null. */
  commitOf(revision: string): string | null {
    if (isCommit(revision)) return revision;
    try {
      const text = readFileSync(join(this.folder, 'refs', revision), 'utf8').trim();
      return isCommit(text) ? text : null;
    } catch (error) {
      if (isSystemError(error)) return null;
      throw error;
    }
  }

  /** Notes the commit of a revision. */
  noteCommit(revision: string, commit: string): void {
    if (!isCommit(revision)) writeFileAtomic(join(this.folder, 'refs', revision), commit);
  }

  /** The choice that was noted for what was asked at a commit, or null; a damaged note is passed over. */
  choiceOf(commit: string, asked: string): Choice | null {
    try {
      return readJson(this.#choiceFile(commit, asked), choiceSchema);
    } catch (error) {
      if (error instanceof DataError) return null;
      throw error;
    }
  }

  noteChoice(commit: string, asked: string, choice: Choice): void {
    writeJson(this.#choiceFile(commit, asked), choice);
  }

  #choiceFile(commit: string, asked: string): string {
    return join(this.folder, '.moe-disco', `${sha256(`${commit}\n${asked}`)}.json`);
  }

  /** Where the content of a file lies when it is here. */
  blob(file: HubFile): string {
    return join(this.folder, 'blobs', file.hash);
  }

  /** The path of a file at a commit, when it is there with its size; null otherwise. */
  find(commit: string, file: HubFile): string | null {
    const path = join(this.folder, 'snapshots', commit, file.path);
    return statSync(path, { throwIfNoEntry: false })?.size === file.size ? path : null;
  }

  /** Makes a file of a commit refer to its content, and returns its path. */
  link(commit: string, file: HubFile): string {
    const path = join(this.folder, 'snapshots', commit, file.path);
    try {
      mkdirSync(dirname(path), { recursive: true });
      rmSync(path, { force: true });
      symlinkSync(relative(dirname(path), this.blob(file)), path);
    } catch (error) {
      // Another process has made the same link.
      if (!(isSystemError(error) && error.code === 'EEXIST')) throw systemFailure(error, path, 'write');
    }
    return path;
  }

  /**
   * The files of a commit as far as they are here, below `folder` ('' for all); their hashes are the names of their
   * blobs. What is no link to a blob is left out: it was not put there by a download.
   */
  snapshot(commit: string, folder: string, recursive: boolean): HubFile[] {
    const root = join(this.folder, 'snapshots', commit);
    const below = (path: string): HubFile[] => {
      const full = join(root, path);
      if (lstatSync(full, { throwIfNoEntry: false }) === undefined) return [];
      return readdirSync(full, { withFileTypes: true }).flatMap((entry): HubFile[] => {
        const name = path === '' ? entry.name : `${path}/${entry.name}`;
        if (entry.isDirectory()) return recursive ? below(name) : [];
        const size = statSync(join(root, name), { throwIfNoEntry: false })?.size;
        if (!entry.isSymbolicLink() || size === undefined) return [];
        const parsed = hubFileSchema.safeParse({
          path: name,
          size,
          hash: basename(readlinkSync(join(root, name))),
        });
        return parsed.success ? [parsed.data] : [];
      });
    };
    return below(folder);
  }
}

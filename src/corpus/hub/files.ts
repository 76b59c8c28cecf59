/** The files of a data set on the Hub: found at once, downloaded when they are read. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { DataError, EnvironmentError, RequestError } from '../../errors.js';
import { type HubPath, parseHubPath } from '../../recipe/hub-path.js';
import { type Choice, type HubFile, hubFileSchema, isCommit, RepoCache } from './cache.js';
import { chooseFiles, type Tree } from './choose.js';
import { HubClient, type HubOptions } from './client.js';
import { fetchFile, refuseFullDisk } from './download.js';
import { hubSettings } from './settings.js';

/** Where the Hub keeps what it made of data sets that come as programs. */
const CONVERTED = 'refs/convert/parquet';
const MAX_FILES = 1_000_000;
const MAX_CARD = 2 ** 23;

const entrySchema = z.object({
  type: z.string(),
  path: z.string(),
  size: z.int().nonnegative(),
  oid: z.string().optional(),
  lfs: z.object({ oid: z.string(), size: z.int().nonnegative() }).optional(),
});

/** A file of a data set, which is downloaded when its path is asked for. */
export interface HubSourceFile {
  /** `hf://datasets/OWNER/NAME@COMMIT/PATH`. */
  name: string;
  size: number;
  hash(): Promise<string>;
  path(): Promise<string>;
}

/**
 * The files that a path on the Hub names, and the commit that they are of. What was chosen at a commit is noted in
 * the cache, so that it takes no request to choose again.
 *
 * @param commits commits by path that are taken instead of what the revision means today
 * @throws RequestError for a path that names nothing, or nothing that the cache holds where HF_HUB_OFFLINE is set;
 * EnvironmentError where the Hub cannot be reached
 */
export async function hubFiles(
  text: string,
  options: HubOptions = {},
  commits: Readonly<Record<string, string>> = {},
): Promise<{ commit: string; files: HubSourceFile[] }> {
  const asked = parseHubPath(text);
  if ('expected' in asked) throw new RequestError('This is no path on the Hub.', { key: text, ...asked });
  const client = new HubClient(hubSettings(options.env), options);
  const cache = new RepoCache(client.settings.cache, asked.owner, asked.name);
  const { commit, files } = await choose(
    { ...asked, revision: commits[text] ?? asked.revision },
    client,
    cache,
  );
  if (options.readsAll === true && !client.settings.offline) refuseFullDisk(cache, commit, files);
  const base = `hf://datasets/${asked.owner}/${asked.name}@${commit}`;
  return {
    commit,
    files: files.map((file) => ({
      name: `${base}/${file.path}`,
      size: file.size,
      // As hashes of local files are: where a file lies is no part of what is made of it.
      hash: async () => (file.hash.length === 64 ? file.hash : `git:${file.hash}`),
      path: () => fetchFile(client, cache, { owner: asked.owner, name: asked.name, commit }, file),
    })),
  };
}

async function choose(asked: HubPath, client: HubClient, cache: RepoCache): Promise<Choice> {
  const wanted = JSON.stringify([asked.config, asked.split, asked.files]);
  const commit = await resolveCommit(asked, asked.revision, client, cache);
  const known = cache.choiceOf(commit, wanted);
  if (known !== null) return known;
  let choice: Choice | null = await chooseAt(asked, commit, client, cache);
  if (choice === null && asked.revision === 'main') {
    const converted = await resolveCommit(asked, CONVERTED, client, cache).catch((error: unknown) => {
      if (error instanceof RequestError) return null;
      throw error;
    });
    if (converted !== null) {
      choice = await chooseAt(asked, converted, client, cache);
      if (choice !== null) sayConverted(asked, choice, client);
    }
  }
  if (choice === null) {
    throw new RequestError('The data set has no files that are read here.', {
      key: asked.text,
      expected: `text, JSON lines or Parquet${asked.config === null ? '' : `, or the configuration ${asked.config}`}`,
      hint: 'it may need a program of its own, or a configuration: hf://datasets/OWNER/NAME/CONFIG:SPLIT',
    });
  }
  // What a cache happens to hold is no list of what the data set has.
  if (!client.settings.offline) {
    for (const at of new Set([commit, choice.commit])) cache.noteChoice(at, wanted, choice);
  }
  return choice;
}

function sayConverted(asked: HubPath, { files }: Choice, client: HubClient): void {
  const partial = files.some(({ path }) => /(^|\/)partial-/.test(path));
  client.options.say?.(
    `${asked.text}: read as the Hub has converted it to Parquet` +
      (partial ? ', which is only the first part of the data set' : ''),
  );
}

async function chooseAt(
  asked: HubPath,
  commit: string,
  client: HubClient,
  cache: RepoCache,
): Promise<Choice | null> {
  const { offline } = client.settings;
  const repo = { owner: asked.owner, name: asked.name, commit };
  const tree: Tree = {
    list: async (folder, recursive) =>
      offline ? cache.snapshot(commit, folder, recursive) : listFolder(repo, folder, recursive, client),
    read: async (file) => {
      if (file.size > MAX_CARD)
        throw unexpected(asked.text, `a card of at most ${MAX_CARD} bytes`, file.size);
      return readFileSync(await fetchFile(client, cache, repo, file), 'utf8');
    },
  };
  if (offline) {
    client.options.say?.(`${asked.text}: offline, so its files are those that the cache holds`);
  }
  const files = await chooseFiles(asked, tree);
  return files === null ? null : { format: 1, commit, files };
}

/** The commit that a revision means: today, or where offline when it was last asked for. */
async function resolveCommit(
  { text, owner, name }: HubPath,
  revision: string,
  client: HubClient,
  cache: RepoCache,
): Promise<string> {
  const { offline, endpoint } = client.settings;
  const noted = offline || isCommit(revision) ? cache.commitOf(revision) : null;
  if (noted !== null) return noted;
  if (offline) {
    throw new RequestError('The data set is not in the cache, and HF_HUB_OFFLINE is set.', {
      file: cache.folder,
      key: text,
      expected: `the revision ${revision}`,
      hint: 'run once without HF_HUB_OFFLINE, or copy the cache of a machine that has it (HF_HOME)',
    });
  }
  const { datasetInfo } = await import('@huggingface/hub');
  const info = await datasetInfo({
    name: `${owner}/${name}`,
    revision,
    additionalFields: ['sha'],
    hubUrl: endpoint,
    fetch: client.fetch as typeof fetch,
  }).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
    throw new RequestError('There is no such data set or revision on the Hub.', {
      key: text,
      found: `no ${owner}/${name} at ${revision}`,
    });
  });
  const commit: unknown = info.sha;
  if (typeof commit !== 'string' || !isCommit(commit)) throw unexpected(text, 'a commit', commit);
  cache.noteCommit(revision, commit);
  return commit;
}

/** Whether @huggingface/hub reports that something is not there. */
function isMissing(error: unknown): boolean {
  return error instanceof Error && 'statusCode' in error && error.statusCode === 404;
}

function unexpected(key: string, expected: string, found: unknown): EnvironmentError {
  return new EnvironmentError('The Hub answered with something else than was asked for.', {
    key,
    expected,
    found: JSON.stringify(found)?.slice(0, 100) ?? 'nothing',
  });
}

async function listFolder(
  { owner, name, commit }: { owner: string; name: string; commit: string },
  folder: string,
  recursive: boolean,
  client: HubClient,
): Promise<HubFile[]> {
  const { listFiles } = await import('@huggingface/hub');
  const repo = `hf://datasets/${owner}/${name}@${commit}`;
  const files: HubFile[] = [];
  try {
    for await (const entry of listFiles({
      repo: { type: 'dataset', name: `${owner}/${name}` },
      revision: commit,
      path: folder.split('/').map(encodeURIComponent).join('/'),
      recursive,
      hubUrl: client.settings.endpoint,
      fetch: client.fetch as typeof fetch,
    })) {
      client.options.between?.();
      const parsed = entrySchema.safeParse(entry);
      if (!parsed.success) throw unexpected(repo, 'a list of files', entry);
      const { type, path, size, oid, lfs } = parsed.data;
      if (type !== 'file') continue;
      const file = hubFileSchema.safeParse({ path, size: lfs?.size ?? size, hash: lfs?.oid ?? oid });
      if (!file.success) {
        throw new DataError('The Hub lists a file that cannot be one of the data set.', {
          file: repo,
          key: path.slice(0, 200),
          found: z.prettifyError(file.error).split('\n')[0] ?? '',
        });
      }
      files.push(file.data);
      if (files.length > MAX_FILES) throw unexpected(repo, `at most ${MAX_FILES} files`, files.length);
    }
  } catch (error) {
    if (isMissing(error)) return [];
    // The library reads whatever JSON comes as if it were a list.
    if (error instanceof TypeError || error instanceof SyntaxError)
      throw unexpected(repo, 'a list of files', error.message);
    throw error;
  }
  return files;
}

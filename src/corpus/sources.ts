/** The files of a source, in the order in which they are read. */

import { statSync } from 'node:fs';
import { hashFile } from '../formats/hash.js';
import { isHubPath } from '../recipe/hub-path.js';
import type { Source } from '../recipe/schema.js';
import { localFiles } from '../recipe/source-files.js';
import type { HubOptions } from './hub/client.js';
import { hubFiles } from './hub/files.js';

/** A file of a source. */
export interface SourceFile {
  /** For messages, and for what its ending tells. */
  name: string;
  /** Bytes; 0 for a file that is not there, of which whoever reads it tells. */
  size: number;
  /** Hash of its content. That of a file on the Hub is known before the file is here. */
  hash(): Promise<string>;
  /** Its path on this machine; a file on the Hub is downloaded first where the cache lacks it. */
  path(): Promise<string>;
}

/** The files of a source. */
export interface SourceListing {
  files: SourceFile[];
  /** By path on the Hub, the commit that it was resolved to. */
  commits: Record<string, string>;
}

/**
 * The paths of `source` in their order, each a file, the files of a folder or pattern sorted byte by byte, or those
 * of a data set on the Hub. Downloads no data.
 *
 * @param pins commits of paths on the Hub that are taken instead of what their revisions mean today
 * @throws DataError where a folder or pattern has no file; what {@link hubFiles} throws.
 */
export async function listSource(
  source: Source,
  hub: HubOptions = {},
  pins: Readonly<Record<string, string>> = {},
): Promise<SourceListing> {
  const files: SourceFile[] = [];
  const commits: Record<string, string> = {};
  for (const path of [source.path].flat()) {
    if (isHubPath(path)) {
      const found = await hubFiles(path, hub, pins);
      files.push(...found.files);
      commits[path] = found.commit;
    } else files.push(...localFiles(path).map(localFile));
  }
  return { files, commits };
}

function localFile(path: string): SourceFile {
  return {
    name: path,
    size: statSync(path, { throwIfNoEntry: false })?.size ?? 0,
    hash: async () => (await hashFile(path)).sha256,
    path: async () => path,
  };
}

/** What a model was made from: files by name, size and SHA-256, as `sha256sum` and the Hub print it. */
import { basename, resolve } from 'node:path';
import { type FileRecord, hashFile, hashJson } from '../formats/hash.js';

/** A folder that a model was made from. */
export interface Parent {
  /** Its name, without the path to it. */
  name: string;
  /** Its files of weights. */
  files: FileRecord[];
}

/** Name of a folder, without the path to it. */
export function folderName(folder: string): string {
  return basename(resolve(folder));
}

/**
 * Reads and hashes the files of weights of folders, one after another. It begins at once and may go on beside work that
 * reads the same files, so that they come from the disk once; whoever awaits it is told of its failure, and nobody
 * where that work has failed first.
 */
export function hashParents(
  folders: readonly { name: string; files: readonly string[] }[],
): Promise<Parent[]> {
  const hash = async (): Promise<Parent[]> => {
    const parents: Parent[] = [];
    for (const { name, files } of folders) {
      const records: FileRecord[] = [];
      for (const file of files) records.push({ name: basename(file), ...(await hashFile(file)) });
      parents.push({ name, files: records });
    }
    return parents;
  };
  const parents = hash();
  parents.catch(() => {});
  return parents;
}

/** One hash for the weights of a parent, whatever its files are called. */
export function parentHash({ files }: Parent): string {
  return hashJson(files.map(({ sha256 }) => sha256));
}

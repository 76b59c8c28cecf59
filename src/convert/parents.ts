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

/** Reads and hashes the files of weights of a folder. */
export async function parentOf({
  folder,
  files,
}: {
  folder: string;
  files: readonly string[];
}): Promise<Parent> {
  const records: FileRecord[] = [];
  for (const file of files) records.push({ name: basename(file), ...(await hashFile(file)) });
  return { name: basename(resolve(folder)), files: records };
}

/** One hash for the weights of a parent, whatever its files are called. */
export function parentHash({ files }: Parent): string {
  return hashJson(files.map(({ sha256 }) => sha256));
}

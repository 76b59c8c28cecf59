/** Which weights a folder holds, without reading more than is needed. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type FileRecord, hashFile } from '../../formats/hash.js';
import { weightsHash } from '../../formats/hf-folder.js';
import { readDone } from '../../run/done.js';

/** One hash of a folder's weights: that of its DONE where a run made it, else of its safetensors files. */
export async function folderWeightsHash(folder: string): Promise<string> {
  if (existsSync(join(folder, 'DONE'))) {
    const hash = readDone(folder)?.hashes.weights;
    if (hash !== undefined) return hash;
  }
  const records: FileRecord[] = [];
  for (const name of readdirSync(folder).sort()) {
    if (name.endsWith('.safetensors')) records.push({ name, ...(await hashFile(join(folder, name))) });
  }
  return weightsHash(records);
}

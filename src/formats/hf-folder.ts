/**
 * Reading Hugging Face model folders: config.json, weights in one safetensors file or in shards with an index, and
 * tokenizer.json. Pickled weights are never read.
 */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { DataError } from '../errors.js';
import { readJson } from './atomic.js';
import { INDEX_FILE, SINGLE_FILE } from './hf-folder-writer.js';
import { SafetensorsReader } from './safetensors.js';
import { type FusedTensor, Weights } from './weights.js';

export { weightsHash, writeHuggingFaceFolder } from './hf-folder-writer.js';
export { Weights } from './weights.js';

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/**
 * The folder's config.json as an object.
 * @throws DataError when it is missing or not a JSON object.
 */
export function readConfig(folder: string): Record<string, unknown> {
  return readJson(join(folder, 'config.json'), z.record(z.string(), z.unknown()));
}

/** Path of the folder's tokenizer.json, or null where there is none. */
export function tokenizerPath(folder: string): string | null {
  const path = join(folder, 'tokenizer.json');
  return existsSync(path) ? path : null;
}

/** Whether a folder has weights that {@link openWeights} would open. */
export function hasWeights(folder: string): boolean {
  return existsSync(join(folder, SINGLE_FILE)) || existsSync(join(folder, INDEX_FILE));
}

/** Every tensor of the index in its shard, every tensor of a shard in the index, no tensor twice. */
function checkIndex(
  index: string,
  map: Record<string, string>,
  shards: Map<string, SafetensorsReader>,
): void {
  const seen = new Map<string, string>();
  for (const [file, shard] of shards) {
    for (const name of shard.names) {
      const other = seen.get(name);
      if (other !== undefined) {
        throw new DataError(`Tensor ${name} stands in two shards.`, {
          file: shard.path,
          key: name,
          found: `${other} and ${file}`,
        });
      }
      seen.set(name, file);
      if (!Object.hasOwn(map, name)) {
        throw new DataError(`Tensor ${name} of ${file} is not in the index.`, { file: index, key: name });
      }
    }
  }
  for (const [name, file] of Object.entries(map)) {
    if (seen.get(name) !== file) {
      throw new DataError(`The index promises tensor ${name} in ${file}, which does not hold it.`, {
        file: index,
        key: name,
        expected: file,
        found: seen.get(name) ?? 'in no shard',
      });
    }
  }
}

/**
 * Opens the weights of a folder: model.safetensors, or the shards of model.safetensors.index.json.
 * @param fused tensors that are to be seen as their parts where the folder has them
 * @throws DataError for missing, extra or doubled tensors and for files outside the folder.
 */
export function openWeights(folder: string, fused: readonly FusedTensor[] = []): Weights {
  const shards = openShards(folder);
  try {
    return new Weights(folder, shards, fused);
  } catch (error) {
    for (const shard of shards) shard.close();
    throw error;
  }
}

function openShards(folder: string): SafetensorsReader[] {
  if (existsSync(join(folder, SINGLE_FILE))) return [SafetensorsReader.open(join(folder, SINGLE_FILE))];
  const index = join(folder, INDEX_FILE);
  if (!existsSync(index)) {
    const pickled = existsSync(folder) && readdirSync(folder).find((name) => name.endsWith('.bin'));
    throw new DataError(`${folder} has no weights.`, {
      file: folder,
      expected: `${SINGLE_FILE} or ${INDEX_FILE}`,
      ...(pickled
        ? { found: pickled, hint: 'pickled weights are never read: save the model as safetensors' }
        : {}),
    });
  }
  const map = readJson(index, indexSchema).weight_map;
  const shards = new Map<string, SafetensorsReader>();
  try {
    for (const file of new Set(Object.values(map))) {
      if (basename(file) !== file || !file.endsWith('.safetensors')) {
        throw new DataError('The index names a file outside its folder.', {
          file: index,
          expected: 'the name of a .safetensors file in the same folder',
          found: file,
        });
      }
      shards.set(file, SafetensorsReader.open(join(folder, file)));
    }
    checkIndex(index, map, shards);
  } catch (error) {
    for (const shard of shards.values()) shard.close();
    throw error;
  }
  return [...shards.values()];
}

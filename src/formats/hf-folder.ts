/**
 * Hugging Face model folders: config.json, weights in one safetensors file or in shards with an index, and
 * tokenizer.json. Pickled weights are never read.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { DataError } from '../errors.js';
import { readJson, syncFolder, temporaryPath, writeFileAtomic, writeJson } from './atomic.js';
import type { FileRecord } from './hash.js';
import {
  SafetensorsReader,
  sourceBytes,
  type TensorInfo,
  type TensorSource,
  writeSafetensors,
} from './safetensors.js';

const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
const WEIGHT_FILE = /^model(-\d{5}-of-\d{5})?\.safetensors$/;

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

/** All tensors of a folder by name, whichever shard they lie in. Close it when done. */
export class Weights {
  readonly folder: string;
  readonly #shards: SafetensorsReader[];
  readonly #byName: Map<string, SafetensorsReader>;

  /** Use {@link openWeights}. */
  constructor(folder: string, shards: SafetensorsReader[]) {
    this.folder = folder;
    this.#shards = shards;
    this.#byName = new Map(shards.flatMap((shard) => shard.names.map((name) => [name, shard] as const)));
  }

  /** Names shard by shard, each in the order of its file. */
  get names(): string[] {
    return [...this.#byName.keys()];
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  /** Type and size of a tensor. Throws DataError when there is none of this name. */
  info(name: string): TensorInfo {
    return this.#shard(name).info(name);
  }

  /** Path of the file that holds a tensor, for messages. */
  file(name: string): string {
    return this.#shard(name).path;
  }

  /** As {@link SafetensorsReader.read}. */
  read(name: string, into?: Uint8Array, offset?: number, length?: number): Uint8Array {
    return this.#shard(name).read(name, into, offset, length);
  }

  close(): void {
    for (const shard of this.#shards) shard.close();
  }

  #shard(name: string): SafetensorsReader {
    const shard = this.#byName.get(name);
    if (shard === undefined) {
      throw new DataError(`${this.folder} has no tensor ${name}.`, { file: this.folder, key: name });
    }
    return shard;
  }
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
 * @throws DataError for missing, extra or doubled tensors and for files outside the folder.
 */
export function openWeights(folder: string): Weights {
  if (existsSync(join(folder, SINGLE)))
    return new Weights(folder, [SafetensorsReader.open(join(folder, SINGLE))]);
  const index = join(folder, INDEX);
  if (!existsSync(index)) {
    const pickled = existsSync(folder) && readdirSync(folder).find((name) => name.endsWith('.bin'));
    throw new DataError(`${folder} has no weights.`, {
      file: folder,
      expected: `${SINGLE} or ${INDEX}`,
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
  return new Weights(folder, [...shards.values()]);
}

/** What {@link writeHuggingFaceFolder} writes. */
export interface HuggingFaceContents {
  config: Record<string, unknown>;
  generationConfig?: Record<string, unknown>;
  /** In the order in which they shall lie on disk. */
  tensors: readonly TensorSource[];
  /** Bytes of tensors per shard; a larger tensor has a shard of its own. */
  maxShardBytes?: number;
  /** File name in the folder -> path of the file to copy, or its content. */
  extraFiles?: Record<string, string | Uint8Array>;
  /** Metadata of the safetensors files beside {format: 'pt'}. */
  metadata?: Record<string, string>;
  /** Called before anything appears; may refuse by throwing. */
  check?: () => void;
}

/** Cuts the tensors into shards in their order, as Hugging Face does. At least one shard. */
function shardTensors(tensors: readonly TensorSource[], maxShardBytes: number): TensorSource[][] {
  const shards: TensorSource[][] = [[]];
  let size = 0;
  for (const tensor of tensors) {
    const bytes = sourceBytes(tensor);
    if (size > 0 && size + bytes > maxShardBytes) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1)!.push(tensor);
    size += bytes;
  }
  return shards;
}

/**
 * Writes a model folder whole or not at all: everything is made in a temporary folder inside it, older weights
 * are taken away, and config.json, without which nobody takes it for a model, is moved in last. Other files of
 * the folder stay.
 * @returns name, size and SHA-256 of every file written, config.json last.
 */
export async function writeHuggingFaceFolder(
  folder: string,
  contents: HuggingFaceContents,
): Promise<FileRecord[]> {
  mkdirSync(folder, { recursive: true });
  const making = temporaryPath(join(folder, 'model'));
  const records: FileRecord[] = [];
  const names = contents.tensors.map((tensor) => tensor.name);
  if (new Set(names).size !== names.length) throw new Error('two tensors have the same name');
  const options = contents.metadata === undefined ? {} : { metadata: contents.metadata };
  try {
    const shards = shardTensors(contents.tensors, contents.maxShardBytes ?? 5e9);
    const weightMap: [string, string][] = [];
    for (const [index, tensors] of shards.entries()) {
      const number = (value: number) => String(value).padStart(5, '0');
      const file =
        shards.length === 1 ? SINGLE : `model-${number(index + 1)}-of-${number(shards.length)}.safetensors`;
      records.push(await writeSafetensors(join(making, file), tensors, options));
      weightMap.push(...tensors.map((tensor) => [tensor.name, file] as [string, string]));
    }
    for (const [name, source] of Object.entries(contents.extraFiles ?? {})) {
      const data = typeof source === 'string' ? readFileSync(source) : source;
      records.push(writeFileAtomic(join(making, name), data));
    }
    if (contents.generationConfig) {
      records.push(writeJson(join(making, 'generation_config.json'), contents.generationConfig));
    }
    if (shards.length > 1) {
      const total = contents.tensors.reduce((sum, tensor) => sum + sourceBytes(tensor), 0);
      const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(weightMap) };
      records.push(writeJson(join(making, INDEX), index));
    }
    records.push(writeJson(join(making, 'config.json'), contents.config));

    contents.check?.();
    rmSync(join(folder, 'config.json'), { force: true });
    rmSync(join(folder, INDEX), { force: true });
    for (const old of readdirSync(folder)) if (WEIGHT_FILE.test(old)) rmSync(join(folder, old));
    syncFolder(folder);
    for (const { name } of records) renameSync(join(making, name), join(folder, name));
    syncFolder(folder);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return records;
}

/** Writing Hugging Face model folders: weights in one file or in shards with an index, config.json last. */
import { readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { syncFolder, temporaryPath, writeFileAtomic, writeJson } from './atomic.js';
import { type FileRecord, hashJson } from './hash.js';
import { sourceBytes, type TensorSource, writeSafetensors } from './safetensors.js';
import { systemFailure } from './system-failure.js';

/** The weights when they are one file. */
export const SINGLE_FILE = 'model.safetensors';
/** The index when they are several. */
export const INDEX_FILE = 'model.safetensors.index.json';

/** Bytes of tensors per shard where nothing else is asked for. */
const MAX_SHARD_BYTES = 5e9;

const WEIGHT_FILE = /^model(-\d{5}-of-\d{5})?\.safetensors$/;

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

function readWhole(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw systemFailure(error, path, 'read');
  }
}

/** Takes the older model away, config.json first, and moves the new files in, config.json last. */
function moveIn(folder: string, making: string, records: readonly FileRecord[]): void {
  try {
    rmSync(join(folder, 'config.json'), { force: true });
    rmSync(join(folder, INDEX_FILE), { force: true });
    for (const old of readdirSync(folder)) if (WEIGHT_FILE.test(old)) rmSync(join(folder, old));
    syncFolder(folder);
    for (const { name } of records) renameSync(join(making, name), join(folder, name));
    syncFolder(folder);
  } catch (error) {
    throw systemFailure(error, folder, 'write');
  }
}

/** Keys of config.json for which transformers 5 refuses a whole number. */
const FLOATS = /^( {2}"(?:clip_qkv|initializer_range|rms_norm_eps|router_aux_loss_coef)": \d+)(?=,?$)/gm;

/** config.json as text: 8 is written 8.0 where Python must read a float. */
function configText(config: unknown): string {
  return `${JSON.stringify(config, null, 2).replace(FLOATS, '$1.0')}\n`;
}

/**
 * Writes the files of a model into a folder that is not looked at yet, config.json last.
 * @returns name, size and SHA-256 of every file written, in this order
 */
export async function writeModelFiles(folder: string, contents: HuggingFaceContents): Promise<FileRecord[]> {
  const records: FileRecord[] = [];
  const names = contents.tensors.map((tensor) => tensor.name);
  if (new Set(names).size !== names.length) throw new Error('two tensors have the same name');
  const options = contents.metadata === undefined ? {} : { metadata: contents.metadata };
  const shards = shardTensors(contents.tensors, contents.maxShardBytes ?? MAX_SHARD_BYTES);
  const weightMap: [string, string][] = [];
  for (const [index, tensors] of shards.entries()) {
    const number = (value: number) => String(value).padStart(5, '0');
    const file =
      shards.length === 1
        ? SINGLE_FILE
        : `model-${number(index + 1)}-of-${number(shards.length)}.safetensors`;
    records.push(await writeSafetensors(join(folder, file), tensors, options));
    weightMap.push(...tensors.map((tensor) => [tensor.name, file] as [string, string]));
  }
  for (const [name, source] of Object.entries(contents.extraFiles ?? {})) {
    records.push(
      writeFileAtomic(join(folder, name), typeof source === 'string' ? readWhole(source) : source),
    );
  }
  if (contents.generationConfig) {
    records.push(writeJson(join(folder, 'generation_config.json'), contents.generationConfig));
  }
  if (shards.length > 1) {
    const total = contents.tensors.reduce((sum, tensor) => sum + sourceBytes(tensor), 0);
    const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(weightMap) };
    records.push(writeJson(join(folder, INDEX_FILE), index));
  }
  records.push(writeFileAtomic(join(folder, 'config.json'), configText(contents.config)));
  return records;
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
  const making = temporaryPath(join(folder, 'model'));
  try {
    const records = await writeModelFiles(making, contents);
    contents.check?.();
    moveIn(folder, making, records);
    return records;
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
}

/** One hash for the weights among the files of a model folder: of the hashes of its safetensors files, in order. */
export function weightsHash(files: readonly FileRecord[]): string {
  return hashJson(files.filter(({ name }) => WEIGHT_FILE.test(name)).map(({ sha256 }) => sha256));
}

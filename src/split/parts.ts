/**
 * Initial weights on disk: a Hugging Face folder of the whole model whose shards are the parts that the submodels
 * need: shared.safetensors, router.safetensors, expert-0.safetensors, ... Whoever trains submodel k needs the first
 * two and its own.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '../errors.js';
import { writeFileAtomic, writeJson } from '../formats/atomic.js';
import type { FileRecord } from '../formats/hash.js';
import { INDEX_FILE } from '../formats/hf-folder-writer.js';
import { SafetensorsReader, writeSafetensors } from '../formats/safetensors.js';
import { modelCompanions } from '../model/companions.js';
import type { ModelConfig } from '../model/config.js';
import { allParameters } from '../model/model-folder.js';
import type { Parameter, Role } from '../model/parameters.js';
import { remoteCodeOf } from '../model/remote-code.js';
import { beginFingerprint, dtypeOfSafetensors, safetensorsDtype } from '../model/store-files.js';
import type { DType, Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

/** A part of a model: its name among the hashes of DONE, and what it holds. */
export interface Part {
  name: string;
  role: Role;
  expert?: number;
}

/** The parts of a model: `shared`, `router`, `expert/0`, ... */
export function partsOf({ numExperts }: ModelConfig): Part[] {
  return [
    { name: 'shared', role: 'backbone' },
    { name: 'router', role: 'router' },
    ...Array.from({ length: numExperts }, (_, expert) => expertPart(expert)),
  ];
}

/** The part that expert `k` of every layer makes up. */
export function expertPart(k: number): Part {
  return { name: `expert/${k}`, role: 'expert', expert: k };
}

/** The file of a part. */
export function partFile({ name }: Pick<Part, 'name'>): string {
  return `${name.replace('/', '-')}.safetensors`;
}

interface PartsContents {
  config: ModelConfig;
  /** Content of config.json, which is written last. */
  json: Record<string, unknown>;
  dtype: DType;
  /** Makes one tensor of the whole model, of `dtype`, on the CPU; called within a scope, once for each. */
  tensor(parameter: Parameter): Tensor;
  /** A tokenizer.json to be copied. */
  tokenizer?: string;
  /** Called before a file appears; may refuse by throwing. */
  check(): void;
}

/**
 * Writes the parts of a model, one tensor in memory at a time.
 * @returns the files, and the fingerprint of each part by its name
 */
export async function writeParts(
  folder: string,
  contents: PartsContents,
): Promise<{ files: FileRecord[]; fingerprints: Record<string, string> }> {
  const { config, json, dtype, tensor, tokenizer, check } = contents;
  const all = allParameters(config);
  const files: FileRecord[] = [];
  const fingerprints: Record<string, string> = {};
  const weightMap: Record<string, string> = {};
  let bytesInAll = 0;
  for (const part of partsOf(config)) {
    const print = beginFingerprint(all, dtype, part.role, part.expert);
    const sources = print.parameters.map((parameter) => ({
      name: parameter.name,
      dtype: safetensorsDtype(dtype),
      shape: [...parameter.shape],
      write: (sink: (bytes: Uint8Array) => void) => {
        const bytes = torch.scope(() => tensor(parameter).bytes());
        print.add(parameter, bytes);
        bytesInAll += bytes.length;
        sink(bytes);
      },
    }));
    const file = partFile(part);
    files.push(await writeSafetensors(join(folder, file), sources, { check }));
    fingerprints[part.name] = print.digest();
    for (const { name } of sources) weightMap[name] = file;
  }
  const index = { metadata: { total_size: bytesInAll }, weight_map: weightMap };
  files.push(writeJson(join(folder, INDEX_FILE), index, check));
  const others = tokenizer === undefined ? remoteCodeOf(config) : modelCompanions(tokenizer, config);
  for (const [name, source] of Object.entries(others)) {
    const content = typeof source === 'string' ? readFileSync(source) : source;
    files.push(writeFileAtomic(join(folder, name), content, check));
  }
  files.push(writeJson(join(folder, 'config.json'), json, check));
  return { files, fingerprints };
}

/** Some parts of a model, open. Close them when done. */
export class OpenParts {
  readonly #files = new Map<string, SafetensorsReader>();

  /** @throws DataError for a file that is missing or damaged */
  constructor(folder: string, parts: readonly Part[]) {
    try {
      for (const part of parts) {
        this.#files.set(part.name, SafetensorsReader.open(join(folder, partFile(part))));
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * A tensor of the whole model, which the caller frees.
   * @throws DataError where its part does not hold it, or in another shape
   */
  tensor(parameter: Parameter): Tensor {
    const { name, shape, role, expert } = parameter;
    const part = role === 'expert' ? expertPart(expert!) : { name: role === 'router' ? 'router' : 'shared' };
    const file = this.#files.get(part.name);
    if (file === undefined) throw new RangeError(`the part ${part.name} is not open`);
    const info = file.info(name);
    if (info.shape.join() !== shape.join()) {
      throw new DataError('A tensor has another shape.', {
        file: file.path,
        key: name,
        expected: `[${shape}]`,
        found: `[${info.shape}]`,
      });
    }
    return torch.fromBytes(file.read(name), [...shape], dtypeOfSafetensors(info.dtype));
  }

  close(): void {
    for (const file of this.#files.values()) file.close();
  }
}

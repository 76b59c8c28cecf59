/** The one way in which the commands on folders write a model: weights in shards, companions, a model card. */
import { join } from 'node:path';
import { writeFileAtomic } from '../formats/atomic.js';
import { writeModelFiles } from '../formats/hf-folder-writer.js';
import type { FloatType } from '../formats/round.js';
import type { TensorSource } from '../formats/safetensors.js';
import { type ModelConfig, toHuggingFaceConfig } from '../model/config.js';
import { elementCount } from '../model/parameters.js';
import { programVersions } from '../run/manifest.js';
import { type Card, cardText } from './card.js';
import type { Companions } from './companions.js';
import type { Parent } from './parents.js';

/** A model to be written. */
export interface Model {
  config: ModelConfig;
  /** In the order in which they shall lie on disk. */
  tensors: readonly TensorSource[];
  companions: Companions;
  card: Omit<Card, 'config' | 'versions' | 'parents'> & {
    /** May still be hashed while the weights are written: then their files are read from the disk once. */
    parents: readonly Parent[] | Promise<readonly Parent[]>;
    versions?: Readonly<Record<string, string>>;
  };
  maxShardBytes?: number;
}

const NAMES = { F32: 'float32', BF16: 'bfloat16', F16: 'float16', F64: 'float64' } as const;

/** What config.json calls the type that most of the numbers have. */
export function mainType(
  tensors: readonly Pick<TensorSource, 'dtype' | 'shape'>[],
): (typeof NAMES)[FloatType] {
  const counts = new Map<string, number>();
  for (const { dtype, shape } of tensors) counts.set(dtype, (counts.get(dtype) ?? 0) + elementCount(shape));
  const [most = 'F32'] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? [];
  return NAMES[most as FloatType];
}

/** Writes a model into a folder that nobody looks at yet; see makeFolder. */
export async function writeModel(folder: string, model: Model): Promise<void> {
  const { config, tensors, companions, card, maxShardBytes } = model;
  await writeModelFiles(folder, {
    config: toHuggingFaceConfig(config, mainType(tensors)),
    tensors,
    extraFiles: companions,
    ...(maxShardBytes === undefined ? {} : { maxShardBytes }),
  });
  const versions = { ...programVersions().versions, ...card.versions };
  const text = cardText({ ...card, config, parents: await card.parents, versions });
  writeFileAtomic(join(folder, 'README.md'), text);
}

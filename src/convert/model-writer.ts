/** The one way in which the commands on folders write a model: weights in shards, companions, a model card. */

import type { FileRecord } from '../formats/hash.js';
import { writeModelFiles } from '../formats/hf-folder-writer.js';
import type { FloatType } from '../formats/round.js';
import type { TensorSource } from '../formats/safetensors.js';
import { type ModelConfig, toHuggingFaceConfig } from '../model/config.js';
import { elementCount } from '../model/parameters.js';
import { programVersions } from '../run/manifest.js';
import { type Card, cardText } from './card.js';
import type { Companions } from './companions.js';

/** A model to be written. */
export interface Model {
  config: ModelConfig;
  /** In the order in which they shall lie on disk. */
  tensors: readonly TensorSource[];
  companions: Companions;
  card: Omit<Card, 'config' | 'versions'> & { versions?: Readonly<Record<string, string>> };
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
export function writeModel(folder: string, model: Model): Promise<FileRecord[]> {
  const { config, tensors, companions, card, maxShardBytes } = model;
  const versions = { ...programVersions().versions, ...card.versions };
  return writeModelFiles(folder, {
    config: toHuggingFaceConfig(config, mainType(tensors)),
    tensors,
    extraFiles: { ...companions, 'README.md': Buffer.from(cardText({ ...card, config, versions }), 'utf8') },
    ...(maxShardBytes === undefined ? {} : { maxShardBytes }),
  });
}

/**
 * partition/centroids.safetensors: all that is needed to assign new documents. Tensors: `centroids` float32 [E, d];
 * `mean` [d] where vectors are centred; `embedding` [V, d] where the table was made from the corpus. The metadata
 * says the rest.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { DataError } from '../errors.js';
import type { FileRecord } from '../formats/hash.js';
import { SafetensorsReader, type TensorSource, writeSafetensors } from '../formats/safetensors.js';

const FILE = 'centroids.safetensors';
const flag = z.enum(['true', 'false']).transform((text) => text === 'true');
const metadataSchema = z.looseObject({
  formatVersion: z.literal('1'),
  method: z.enum(['kmeans', 'random', 'field', 'whole']),
  normalize: flag,
  limit: z
    .string()
    .regex(/^(\d+|none)$/)
    .transform((text) => (text === 'none' ? Number.POSITIVE_INFINITY : Number(text))),
  folder: z.string(),
  embeddingHash: z.string(),
});

/** A float32 matrix as it lies in the file. */
export interface Matrix {
  rows: number;
  columns: number;
  values: Float32Array;
}

/** A fitted partition. */
export interface PartitionModel {
  method: 'kmeans' | 'random' | 'field' | 'whole';
  centroids: Matrix;
  /** Subtracted from vectors, or null. */
  mean: Float32Array | null;
  normalize: boolean;
  /** Tokens of a document that are embedded. */
  limit: number;
  /** The table made from the corpus, or where the table lies, with its hash. */
  embedding: { table: Matrix } | { folder: string; sha256: string };
}

/** Writes the model into a partition folder; `check` as in AtomicFile.commit. */
export function writePartitionModel(
  folder: string,
  model: PartitionModel,
  check?: () => void,
): Promise<FileRecord> {
  const { centroids, mean, embedding } = model;
  const tensors = [tensorSource('centroids', [centroids.rows, centroids.columns], centroids.values)];
  if (mean !== null) tensors.push(tensorSource('mean', [mean.length], mean));
  if ('table' in embedding) {
    const { rows, columns, values } = embedding.table;
    tensors.push(tensorSource('embedding', [rows, columns], values));
  }
  const metadata = {
    formatVersion: '1',
    method: model.method,
    normalize: String(model.normalize),
    limit: model.limit === Number.POSITIVE_INFINITY ? 'none' : String(model.limit),
    folder: 'folder' in embedding ? embedding.folder : '',
    embeddingHash: 'folder' in embedding ? embedding.sha256 : '',
  };
  return writeSafetensors(join(folder, FILE), tensors, { metadata, ...(check && { check }) });
}

/**
 * Reads the model of a partition folder.
 * @throws DataError where the file is missing, damaged, or its tensors do not fit together.
 */
export function readPartitionModel(folder: string): PartitionModel {
  const file = join(folder, FILE);
  const reader = SafetensorsReader.open(file);
  try {
    const found = metadataSchema.safeParse(reader.metadata);
    if (!found.success) {
      const key = found.error.issues[0]!.path.join('.');
      throw new DataError('These are not the centroids of a partition.', {
        file,
        key: `__metadata__.${key}`,
      });
    }
    const { method, normalize, limit, folder: origin, embeddingHash } = found.data;
    const centroids = readMatrix(reader, 'centroids');
    const mean = reader.has('mean') ? readMatrix(reader, 'mean') : null;
    const table = reader.has('embedding') ? readMatrix(reader, 'embedding') : null;
    const d = centroids.columns;
    if ((mean !== null && mean.values.length !== d) || (table !== null && table.columns !== d)) {
      throw new DataError('The tensors of the partition have different dimensions.', {
        file,
        expected: String(d),
      });
    }
    return {
      method,
      centroids,
      mean: mean?.values ?? null,
      normalize,
      limit,
      embedding: table === null ? { folder: origin, sha256: embeddingHash } : { table },
    };
  } finally {
    reader.close();
  }
}

function tensorSource(name: string, shape: number[], values: Float32Array): TensorSource {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { name, dtype: 'F32', shape, write: (sink) => sink(bytes) };
}

function readMatrix(reader: SafetensorsReader, name: string): Matrix {
  const { dtype, shape } = reader.info(name);
  const columns = shape.at(-1) ?? 0;
  if (dtype !== 'F32' || shape.length < 1 || shape.length > 2 || columns === 0) {
    throw new DataError('A tensor of the partition has another form.', {
      file: reader.path,
      key: name,
      expected: 'F32 of one or two dimensions',
      found: `${dtype} [${shape.join(', ')}]`,
    });
  }
  const values = new Float32Array(reader.read(name).buffer);
  return { rows: values.length / columns, columns, values };
}

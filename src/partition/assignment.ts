/**
 * partition/assignment.bin: the cluster of every training document. Little-endian:
 *
 *     0   8 bytes  "DISCOASG"
 *     8   uint32   format, 1
 *     12  uint32   E, the number of clusters
 *     16  uint64   n, the number of documents
 *     24  int32[n] cluster of each document, 0 .. E - 1
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataError, RequestError } from '../errors.js';
import { writeFileAtomic } from '../formats/atomic.js';
import type { FileRecord } from '../formats/hash.js';
import { systemFailure } from '../formats/system-failure.js';

const FILE = 'assignment.bin';
const MAGIC = 'DISCOASG';
const FORMAT = 1;
const HEADER_BYTES = 24;

/** Which documents belong to which cluster. */
export interface Assignment {
  /** E. */
  clusters: number;
  /** Cluster of each document of the training split: int32 [n]. */
  labels: Int32Array;
}

/** Writes assignment.bin into `folder`; `check` as in AtomicFile.commit. */
export function writeAssignment(
  folder: string,
  { clusters, labels }: Assignment,
  check?: () => void,
): FileRecord {
  const bytes = Buffer.alloc(HEADER_BYTES + 4 * labels.length);
  bytes.write(MAGIC, 0, 'latin1');
  bytes.writeUInt32LE(FORMAT, 8);
  bytes.writeUInt32LE(clusters, 12);
  bytes.writeBigUInt64LE(BigInt(labels.length), 16);
  labels.forEach((label, i) => {
    bytes.writeInt32LE(label, HEADER_BYTES + 4 * i);
  });
  return writeFileAtomic(join(folder, FILE), bytes, check);
}

/**
 * Reads assignment.bin of a partition folder.
 * @throws DataError where it is missing, truncated, of another format, or names a cluster that there is not.
 */
export function readAssignment(folder: string): Assignment {
  const file = join(folder, FILE);
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    throw systemFailure(error, file, 'read');
  }
  if (bytes.length < HEADER_BYTES || bytes.toString('latin1', 0, 8) !== MAGIC) {
    throw new DataError('This is not an assignment of documents to clusters.', { file });
  }
  const format = bytes.readUInt32LE(8);
  if (format !== FORMAT) {
    throw new DataError('Unknown format of the assignment.', {
      file,
      expected: String(FORMAT),
      found: String(format),
    });
  }
  const clusters = bytes.readUInt32LE(12);
  const expected = BigInt(HEADER_BYTES) + 4n * bytes.readBigUInt64LE(16);
  if (BigInt(bytes.length) !== expected) {
    throw new DataError('The assignment is truncated or its count is wrong.', {
      file,
      expected: `${expected} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  const labels = new Int32Array((bytes.length - HEADER_BYTES) / 4);
  for (let i = 0; i < labels.length; i++) {
    const label = bytes.readInt32LE(HEADER_BYTES + 4 * i);
    if (label < 0 || label >= clusters) {
      throw new DataError('The assignment names a cluster that there is not.', {
        file,
        key: `document ${i}`,
        expected: `0 to ${clusters - 1}`,
        found: String(label),
      });
    }
    labels[i] = label;
  }
  return { clusters, labels };
}

/**
 * The documents of cluster `cluster`, rising.
 * @throws RequestError where there is no such cluster.
 */
export function documentsOfCluster({ clusters, labels }: Assignment, cluster: number): Int32Array {
  if (!Number.isInteger(cluster) || cluster < 0 || cluster >= clusters) {
    throw new RequestError('There is no such cluster.', {
      expected: `0 to ${clusters - 1}`,
      found: String(cluster),
    });
  }
  return Int32Array.from(labels.keys()).filter((document) => labels[document] === cluster);
}

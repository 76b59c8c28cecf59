/** The proof of a merge, read back from the disk. */
import { createHash } from 'node:crypto';
import { EnvironmentError } from '../errors.js';
import { openWeights } from '../formats/hf-folder.js';
import type { TensorRecord } from './report.js';

/**
 * Reads the merged model back: every tensor there, none left over, each with the recorded bytes.
 *
 * @param read called for every piece that was read, with its bytes
 * @throws EnvironmentError naming file and tensor
 */
export async function verifyMerge(
  folder: string,
  records: readonly TensorRecord[],
  read: (bytes: number) => void = () => {},
): Promise<void> {
  const weights = openWeights(folder);
  try {
    const left = new Set(weights.names);
    for (const { name, sha256: expected } of records) {
      left.delete(name);
      const hash = createHash('sha256');
      await weights.stream(name, (piece) => {
        read(piece.length);
        hash.update(piece);
      });
      const found = hash.digest('hex');
      if (found === expected) continue;
      throw new EnvironmentError('A merged tensor is not as it was written: the disk is at fault.', {
        file: weights.file(name),
        key: name,
        expected,
        found,
      });
    }
    const [extra] = left;
    if (extra !== undefined) throw new Error(`the merge does not account for ${extra}`);
  } finally {
    weights.close();
  }
}

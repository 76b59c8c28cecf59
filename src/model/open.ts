/** A model from a Hugging Face folder. */
import { join } from 'node:path';
import { DataError } from '../errors.js';
import { openWeights, readConfig } from '../formats/hf-folder.js';
import { parseModelConfig } from './config.js';
import { ParameterStore, type StoreOptions } from './store.js';
import { dtypeOfSafetensors, loadTensors } from './store-files.js';

/**
 * Opens a folder with config.json and safetensors: a store with its weights, in their dtype unless another is
 * asked for. The caller disposes it.
 *
 * @throws DataError for a configuration that is not supported and for tensors that are missing, left over or of
 * another shape
 */
export function openModel(folder: string, options: StoreOptions = {}): ParameterStore {
  const config = parseModelConfig(readConfig(folder), join(folder, 'config.json'));
  const weights = openWeights(folder);
  try {
    const first = weights.names[0];
    if (first === undefined) throw new DataError('A model folder has no tensors.', { file: folder });
    const stored = dtypeOfSafetensors(weights.info(first).dtype);
    const dtype = options.dtype ?? (stored === 'float32' || stored === 'bfloat16' ? stored : 'float32');
    const store = new ParameterStore(config, { ...options, dtype });
    try {
      loadTensors(store, weights, folder);
      return store;
    } catch (error) {
      store.dispose();
      throw error;
    }
  } finally {
    weights.close();
  }
}

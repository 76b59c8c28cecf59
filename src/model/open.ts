/** A model from a Hugging Face folder. */
import { openWeights, type Weights } from '../formats/hf-folder.js';
import { fusedTensors, readModelConfig } from './model-folder.js';
import { ParameterStore, type StoreOptions } from './store.js';
import { loadTensors } from './store-files.js';

/**
 * Opens a folder with config.json and safetensors, in either layout of experts: a store with its weights, in a dtype that holds them all exactly
 * unless another is asked for. The caller disposes it.
 *
 * @throws DataError for a configuration that is not supported and for tensors that are missing, left over, of
 * another shape or of a type that weights do not have
 */
export function openModel(folder: string, options: StoreOptions = {}): ParameterStore {
  const { config } = readModelConfig(folder);
  const weights = openWeights(folder, fusedTensors(config));
  try {
    const store = new ParameterStore(config, { dtype: commonDtype(weights), ...options });
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

/** The smallest dtype of a store that holds every tensor exactly. */
function commonDtype(weights: Weights): NonNullable<StoreOptions['dtype']> {
  const found = new Set(weights.names.map((name) => weights.info(name).dtype));
  if (found.has('F64')) return 'float64';
  return found.size === 1 && found.has('BF16') ? 'bfloat16' : 'float32';
}

/**
 * The model of the golden results: its weights follow from a seed, so that it need not be stored.
 *
 *     npx tsx tests/evaluate/golden/seed-model.ts FOLDER
 *     python scripts/parity-evaluate.py data data/eval data/wikitext-2/test.txt.gz DATA
 *     python scripts/parity-evaluate.py harness FOLDER DATA TASKS 3 HARNESS.json     TASKS: those of harness.json
 *     python scripts/parity-evaluate.py golden HARNESS.json DATA tests/evaluate/golden/harness.json
 */
import { fileURLToPath } from 'node:url';
import { writeHuggingFaceFolder } from '../../../src/formats/hf-folder.js';
import { toHuggingFaceConfig } from '../../../src/model/config.js';
import { fillInitialWeights } from '../../../src/model/initial-weights.js';
import { ParameterStore } from '../../../src/model/store.js';
import { tensorSources } from '../../../src/model/store-files.js';
import { tinyConfig } from '../../model/fixtures.js';

const TOKENIZER = fileURLToPath(new URL('../../../data/tokenizer/bpe-4096.json', import.meta.url));

/** Writes the model as a Hugging Face folder with the byte-level tokenizer of the package. */
export async function writeSeedModel(folder: string): Promise<void> {
  const config = tinyConfig({
    vocab_size: 4096,
    max_position_embeddings: 256,
    bos_token_id: 0,
    eos_token_id: 0,
  });
  const store = new ParameterStore(config);
  try {
    fillInitialWeights(store, { seed: 11 });
    const tokenizer = { tokenizer_class: 'PreTrainedTokenizerFast', bos_token: null, eos_token: '<|endoftext|>' };
    await writeHuggingFaceFolder(folder, {
      config: toHuggingFaceConfig(config),
      tensors: tensorSources(store),
      extraFiles: { 'tokenizer.json': TOKENIZER, 'tokenizer_config.json': Buffer.from(JSON.stringify(tokenizer)) },
    });
  } finally {
    store.dispose();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await writeSeedModel(process.argv[2]!);

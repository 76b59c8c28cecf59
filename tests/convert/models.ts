/** Small model folders of every family, as this program writes them. */
import { writeHuggingFaceFolder } from '../../src/formats/hf-folder.js';
import { type ConfigJson, parseModelConfig, toHuggingFaceConfig } from '../../src/model/config.js';
import { fillInitialWeights } from '../../src/model/initial-weights.js';
import { ParameterStore } from '../../src/model/store.js';
import { tensorSources } from '../../src/model/store-files.js';
import { tinyJson } from '../model/fixtures.js';

const body = {
  vocab_size: 60,
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  initializer_range: 0.3,
};

/** config.json of a small model of each family, by name. */
export const CONFIGS: Readonly<Record<string, ConfigJson>> = {
  qwen2_moe: tinyJson,
  'qwen2_moe with dense layers, tied': { ...tinyJson, mlp_only_layers: [0], tie_word_embeddings: true },
  mixtral: {
    ...body,
    model_type: 'mixtral',
    intermediate_size: 12,
    num_local_experts: 3,
    num_experts_per_tok: 2,
  },
  olmoe: { ...body, model_type: 'olmoe', intermediate_size: 12, num_experts: 4, num_experts_per_tok: 2 },
  qwen3_moe: {
    ...body,
    model_type: 'qwen3_moe',
    head_dim: 6,
    intermediate_size: 20,
    moe_intermediate_size: 12,
    num_experts: 4,
    num_experts_per_tok: 2,
  },
  llama_moe: {
    ...body,
    model_type: 'llama_moe',
    num_key_value_heads: 4,
    intermediate_size: 48,
    num_experts: 4,
    num_selects: 2,
  },
  'llama_moe, scaled': {
    ...body,
    model_type: 'llama_moe',
    intermediate_size: 48,
    num_experts: 4,
    num_selects: 2,
    score_scale_factor: 2,
  },
};

/** Writes a model with weights of seed 7 into `folder`. */
export async function writeModelFolder(
  folder: string,
  json: ConfigJson,
  dtype: 'float32' | 'bfloat16' | 'float64' = 'float32',
): Promise<string> {
  const store = new ParameterStore(parseModelConfig(json, 'config.json'), { dtype });
  try {
    fillInitialWeights(store, { seed: 7 });
    await writeHuggingFaceFolder(folder, {
      config: toHuggingFaceConfig(store.config, dtype),
      tensors: tensorSources(store),
    });
  } finally {
    store.dispose();
  }
  return folder;
}

/** Where the commands report in tests, what they said, and a request to stop. */
export function surroundings() {
  const said: string[] = [];
  const stop = { requested: false, reason: 'SIGTERM' };
  return { said, stop, reporter: { progress: () => {}, say: (text: string) => void said.push(text) } };
}

/**
 * What a model is, independent of the file that says so. One small file per family (families/) reads and
 * writes that family's config.json; the rest of the code sees only {@link ModelConfig}.
 */
import { DataError } from '../errors.js';
import { qwen2Moe } from './families/qwen2-moe.js';

/** A decoder with routed experts. Sizes are counts; names are those of config.json in camelCase. */
export interface ModelConfig {
  readonly modelType: 'qwen2_moe';
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  /** Width of the feed-forward part of layers without experts. */
  readonly intermediateSize: number;
  /** Width of one routed expert. */
  readonly moeIntermediateSize: number;
  readonly sharedExpertIntermediateSize: number;
  readonly numExperts: number;
  readonly numExpertsPerTok: number;
  readonly normTopkProb: boolean;
  /** Layers that have a plain feed-forward part whatever the step says. */
  readonly mlpOnlyLayers: readonly number[];
  /** Every so many layers has experts. */
  readonly decoderSparseStep: number;
  readonly outputRouterLogits: boolean;
  /** Weight of the load-balancing loss; it counts only with `outputRouterLogits`. */
  readonly routerAuxLossCoef: number;
  readonly qkvBias: boolean;
  readonly tieWordEmbeddings: boolean;
  readonly ropeTheta: number;
  readonly rmsNormEps: number;
  /** Standard deviation of the initial weights. */
  readonly initializerRange: number;
  readonly maxPositionEmbeddings: number;
  /** The row of the embedding that receives no gradient, as in PyTorch's `padding_idx`. */
  readonly padTokenId: number | null;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | readonly number[] | null;
}

/** The content of a config.json. */
export type ConfigJson = Record<string, unknown>;

/** What a family can do: read its config.json and write it. */
export interface Family {
  modelType: string;
  parse(json: ConfigJson, file: string): ModelConfig;
  write(config: ModelConfig, dtype: string): ConfigJson;
}

const families: readonly Family[] = [qwen2Moe];

/**
 * Reads a parsed config.json. Every key is honoured, known to have no effect, or refused.
 *
 * @param json the parsed file, or the same written inside a recipe
 * @param file where it came from, for messages
 * @throws DataError naming file and key, what was expected and what was found
 */
export function parseModelConfig(json: unknown, file: string): ModelConfig {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new DataError('A model configuration must be a JSON object.', {
      file,
      found: JSON.stringify(json),
    });
  }
  const fields = json as ConfigJson;
  const family = families.find((candidate) => candidate.modelType === fields.model_type);
  if (!family) {
    throw new DataError('This kind of model is not supported.', {
      file,
      key: 'model_type',
      expected: families.map((candidate) => candidate.modelType).join(', '),
      found: JSON.stringify(fields.model_type ?? null),
    });
  }
  return family.parse(fields, file);
}

/**
 * The config.json of a model, in the flat form that transformers 4 and 5 both read.
 *
 * @param dtype the dtype of the weights beside it
 */
export function toHuggingFaceConfig(
  config: ModelConfig,
  dtype: 'float32' | 'bfloat16' = 'float32',
): ConfigJson {
  return familyOf(config).write(config, dtype);
}

function familyOf(config: ModelConfig): Family {
  const family = families.find((candidate) => candidate.modelType === config.modelType);
  if (!family) throw new DataError('This kind of model is not supported.', { found: config.modelType });
  return family;
}

/** The configuration of submodel k: the same family with one expert, which every token takes (top-1). */
export function submodelConfig(config: ModelConfig): ModelConfig {
  return { ...config, numExperts: 1, numExpertsPerTok: 1 };
}

/** Whether layer `index` has routed experts: not in mlp_only_layers and (index + 1) % decoder_sparse_step == 0. */
export function isSparseLayer(config: ModelConfig, index: number): boolean {
  return !config.mlpOnlyLayers.includes(index) && (index + 1) % config.decoderSparseStep === 0;
}

/**
 * What a model is, independent of the file that says so. One small file per family (families/) reads and
 * writes that family's config.json and names its parameters; the rest of the code sees only {@link ModelConfig}.
 */
import { DataError } from '../errors.js';
import type { Family } from './families/family.js';
import { llama } from './families/llama.js';
import { llamaMoe } from './families/llama-moe.js';
import { mixtral } from './families/mixtral.js';
import { olmoe } from './families/olmoe.js';
import { qwen2 } from './families/qwen2.js';
import { qwen2Moe } from './families/qwen2-moe.js';
import { qwen3Moe } from './families/qwen3-moe.js';

export type ModelType = 'qwen2_moe' | 'llama_moe' | 'mixtral' | 'olmoe' | 'qwen3_moe' | 'qwen2' | 'llama';

/** RoPE of Llama 3: frequencies of long waves divided by `factor`, those between blended. */
export interface Llama3Scaling {
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalMaxPositionEmbeddings: number;
}

/**
 * A decoder with routed experts. Sizes are counts; names are those of config.json in camelCase. A dense model is
 * one with a single expert and no router: its feed-forward part is expert 0.
 */
export interface ModelConfig {
  readonly modelType: ModelType;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  /** Width of the feed-forward part of layers without experts; 0 in families that have no such layers. */
  readonly intermediateSize: number;
  /** Width of one routed expert; of a dense model, of its feed-forward part. */
  readonly moeIntermediateSize: number;
  /** 0 in families without a shared expert. */
  readonly sharedExpertIntermediateSize: number;
  readonly numExperts: number;
  readonly numExpertsPerTok: number;
  /**
   * none: a dense model. softmax: softmax over all experts of a linear gate, then the K largest. noisy: LLaMA-MoE's
   * two-layer gate, noise while training, softmax over the K largest.
   */
  readonly router: 'none' | 'softmax' | 'noisy';
  /** Whether the K weights are divided by their sum; those of a noisy router sum to 1 as they are. */
  readonly normTopkProb: boolean;
  /** What the weight of every selected expert is multiplied by. */
  readonly scoreScaleFactor: number;
  /** noisy: whether training adds noise to the logits, and the part of its deviation that is always there. */
  readonly gateAddNoise: boolean;
  readonly gateNoiseEpsilon: number;
  /** Layers that have a plain feed-forward part whatever the step says. */
  readonly mlpOnlyLayers: readonly number[];
  /** Every so many layers has experts. */
  readonly decoderSparseStep: number;
  /** Whether the load-balancing loss counts. */
  readonly outputRouterLogits: boolean;
  /** Weight of the load-balancing loss. */
  readonly routerAuxLossCoef: number;
  readonly qkvBias: boolean;
  /** Bias of attention's output projection. */
  readonly outputBias: boolean;
  /** RMSNorm of queries and keys before RoPE: over each head, or over all heads together. */
  readonly qkNorm: 'none' | 'head' | 'width';
  /** Queries, keys and values are limited to plus and minus this, or null. */
  readonly clipQkv: number | null;
  readonly tieWordEmbeddings: boolean;
  readonly ropeTheta: number;
  readonly ropeScaling: Llama3Scaling | null;
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

const families: readonly Family[] = [qwen2Moe, llamaMoe, mixtral, olmoe, qwen3Moe, qwen2, llama];

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
  dtype: 'float32' | 'bfloat16' | 'float16' | 'float64' = 'float32',
): ConfigJson {
  return familyOf(config).write(config, dtype);
}

/** The family of a configuration. */
export function familyOf(config: Pick<ModelConfig, 'modelType'>): Family {
  return families.find((candidate) => candidate.modelType === config.modelType)!;
}

/**
 * The configuration of submodel k: the same family with one expert, which every token takes (top-1), or the dense
 * family that computes the same.
 */
export function submodelConfig(config: ModelConfig): ModelConfig {
  const { submodel } = familyOf(config);
  const single = { ...config, numExperts: 1, numExpertsPerTok: 1 };
  return submodel ? submodel(single) : single;
}

/** Whether layer `index` has routed experts: not in mlp_only_layers and (index + 1) % decoder_sparse_step == 0. */
export function isSparseLayer(config: ModelConfig, index: number): boolean {
  return !config.mlpOnlyLayers.includes(index) && (index + 1) % config.decoderSparseStep === 0;
}

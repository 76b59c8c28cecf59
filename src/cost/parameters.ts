/** Numbers of parameters by part, from a configuration alone: nothing is allocated. */
import { isSparseLayer, type ModelConfig } from '../model/config.js';

/** Parameters of a model by part. All but `total`, `backbone` and `active` add up to `total`. */
export interface ParameterCounts {
  /** Input embedding; the output head too where they are tied. */
  embedding: number;
  /** Output head; 0 where it is tied to the embedding. */
  head: number;
  attention: number;
  norms: number;
  /** All routed experts of all layers. */
  experts: number;
  router: number;
  /** Shared experts with their gates. */
  sharedExperts: number;
  /** Feed-forward parts of layers without experts. */
  dense: number;
  total: number;
  /** theta_shared: everything that is neither a routed expert nor the router. */
  backbone: number;
  /** What one token passes through: top-k experts instead of all, everything else. */
  active: number;
}

/** Counts the parameters of a configuration by part. */
export function countParameters(config: ModelConfig): ParameterCounts {
  const { hiddenSize: hidden, numHiddenLayers: layers, vocabSize: vocabulary } = config;
  const query = config.numAttentionHeads * config.headDim;
  const keyValue = config.numKeyValueHeads * config.headDim;
  const attentionLayer =
    hidden * query + 2 * hidden * keyValue + query * hidden + (config.qkvBias ? query + 2 * keyValue : 0);
  const sparse = Array.from({ length: layers }, (_, i) => isSparseLayer(config, i)).filter(Boolean).length;
  const expert = 3 * hidden * config.moeIntermediateSize;
  const embedding = vocabulary * hidden;
  const head = config.tieWordEmbeddings ? 0 : embedding;
  const attention = layers * attentionLayer;
  const norms = (2 * layers + 1) * hidden;
  const experts = sparse * config.numExperts * expert;
  const router = sparse * config.numExperts * hidden;
  const sharedExperts = sparse * (3 * hidden * config.sharedExpertIntermediateSize + hidden);
  const dense = (layers - sparse) * 3 * hidden * config.intermediateSize;
  const backbone = embedding + head + attention + norms + sharedExperts + dense;
  const total = backbone + experts + router;
  const active = total - sparse * (config.numExperts - config.numExpertsPerTok) * expert;
  return {
    embedding,
    head,
    attention,
    norms,
    experts,
    router,
    sharedExperts,
    dense,
    total,
    backbone,
    active,
  };
}

/**
 * What parameters a configuration has and where each lies in memory; no tensors here.
 *
 * The model is a list of blocks: embedding, decoder layers, head. The parameters of one block lie together in
 * one flat run of elements, those that are trained first. What one operator reads lies contiguously (q, k and v;
 * gate and up; router rows and the shared expert's gate), so that a compute tensor is one view of the run, and
 * every Hugging Face name a view of a part of it.
 */
import { familyOf, isSparseLayer, type ModelConfig } from './config.js';
import type { FamilyNames } from './families/family.js';

/** backbone: everything that is neither a routed expert nor the router (theta_shared of the paper). */
export type Role = 'backbone' | 'expert' | 'router';

/** One parameter under its name in a Hugging Face folder, experts one by one. */
export interface Parameter {
  readonly name: string;
  /**
   * The canonical name: that of Qwen2-MoE without the number of the expert. Expert k of a whole model and the only
   * expert of submodel k have the same, whatever their families call them.
   */
  readonly part: string;
  readonly shape: readonly number[];
  readonly role: Role;
  readonly init: 'normal' | 'zeros' | 'ones';
  /** False for the router row of a submodel: no gradient, no decay, no moments. */
  readonly trained: boolean;
  readonly layer: number | null;
  readonly expert: number | null;
  /** First element within the block. */
  readonly offset: number;
  readonly size: number;
}

/** A part of a block that one operator reads: parameters that lie side by side. */
interface ComputeTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly trained: boolean;
}

export interface BlockLayout {
  readonly kind: 'embedding' | 'layer' | 'head';
  readonly layer: number | null;
  /** Elements of the block, and how many of them, from the first on, are trained. */
  readonly size: number;
  readonly trainedSize: number;
  readonly parameters: readonly Parameter[];
  readonly tensors: readonly ComputeTensor[];
}

/** A parameter by its canonical name within the block. */
type Part = { name: string; shape: readonly number[] } & Partial<Pick<Parameter, 'role' | 'init' | 'expert'>>;

/** Number of elements of a tensor of this shape. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** A canonical name with the number of its expert: what Qwen2-MoE calls it, and what initial weights follow from. */
export function numbered(part: string, expert: number | null): string {
  return expert === null ? part : part.replace('mlp.experts.', `mlp.experts.${expert}.`);
}

/** A part's name on disk. */
function nameOnDisk(part: string, expert: number | null, { onDisk }: FamilyNames): string {
  return onDisk[part]?.replace('{e}', String(expert)) ?? numbered(part, expert);
}

/** Lays out one block: each call to `add` places a compute tensor made of named parts. */
class BlockBuilder {
  private offset = 0;
  private trainedSize = 0;
  private readonly parameters: Parameter[] = [];
  private readonly tensors: ComputeTensor[] = [];

  constructor(
    private readonly kind: BlockLayout['kind'],
    private readonly layer: number | null,
    private readonly prefix: string,
    private readonly names: FamilyNames,
  ) {}

  add(name: string, shape: readonly number[], parts: readonly Part[], trained = true): void {
    this.tensors.push({ name, shape, offset: this.offset, trained });
    for (const part of parts) {
      const size = elementCount(part.shape);
      const { role = 'backbone', init = 'normal', expert = null } = part;
      const place = { trained, layer: this.layer, offset: this.offset, size };
      this.parameters.push({
        ...place,
        name: this.prefix + nameOnDisk(part.name, expert, this.names),
        part: this.prefix + part.name,
        shape: part.shape,
        role,
        init,
        expert,
      });
      this.offset += size;
    }
    if (trained) this.trainedSize = this.offset;
  }

  build(): BlockLayout {
    const { kind, layer, offset, trainedSize, parameters, tensors } = this;
    return { kind, layer, size: offset, trainedSize, parameters, tensors };
  }
}

/** Gate and up projection under one another, and the down projection, of a SwiGLU feed-forward part. */
function addFeedForward(
  block: BlockBuilder,
  tensor: string,
  name: string,
  width: number,
  hidden: number,
): void {
  block.add(
    `${tensor}.gateUp`,
    [2 * width, hidden],
    [
      { name: `${name}.gate_proj.weight`, shape: [width, hidden] },
      { name: `${name}.up_proj.weight`, shape: [width, hidden] },
    ],
  );
  block.add(
    `${tensor}.down`,
    [hidden, width],
    [{ name: `${name}.down_proj.weight`, shape: [hidden, width] }],
  );
}

/** The routed experts: [E, 2I, H] and then [E, H, I] in memory, one compute tensor and three names each. */
function addExperts(block: BlockBuilder, config: ModelConfig): void {
  const { numExperts, moeIntermediateSize: width, hiddenSize: hidden } = config;
  const numbers = Array.from({ length: numExperts }, (_, expert) => expert);
  for (const expert of numbers) {
    const part = (projection: string): Part => {
      return {
        name: `mlp.experts.${projection}.weight`,
        shape: [width, hidden],
        role: 'expert',
        expert,
      };
    };
    block.add(`experts.${expert}.gateUp`, [2 * width, hidden], [part('gate_proj'), part('up_proj')]);
  }
  for (const expert of numbers) {
    const down: Part = {
      name: 'mlp.experts.down_proj.weight',
      shape: [hidden, width],
      role: 'expert',
      expert,
    };
    block.add(`experts.${expert}.down`, [hidden, width], [down]);
  }
}

function addAttention(block: BlockBuilder, config: ModelConfig): void {
  const { hiddenSize: hidden, headDim } = config;
  const rows = {
    q: config.numAttentionHeads * headDim,
    k: config.numKeyValueHeads * headDim,
    v: config.numKeyValueHeads * headDim,
  };
  const projections = Object.entries(rows);
  const total = rows.q + rows.k + rows.v;
  const weights = projections.map(([p, size]) => ({
    name: `self_attn.${p}_proj.weight`,
    shape: [size, hidden],
  }));
  block.add('qkv.weight', [total, hidden], weights);
  if (config.qkvBias) {
    const zeros = { init: 'zeros' } as const;
    const biases = projections.map(([p, size]) => ({
      name: `self_attn.${p}_proj.bias`,
      shape: [size],
      ...zeros,
    }));
    block.add('qkv.bias', [total], biases);
  }
  const output = [{ name: 'self_attn.o_proj.weight', shape: [hidden, rows.q] }];
  block.add('output.weight', [hidden, rows.q], output);
  if (config.outputBias) {
    block.add('output.bias', [hidden], [{ name: 'self_attn.o_proj.bias', shape: [hidden], init: 'zeros' }]);
  }
  if (config.qkNorm === 'none') return;
  for (const p of ['q', 'k'] as const) {
    const shape = [config.qkNorm === 'head' ? headDim : rows[p]];
    block.add(`${p}Norm`, shape, [{ name: `self_attn.${p}_norm.weight`, shape, init: 'ones' }]);
  }
}

function layerLayout(config: ModelConfig, layer: number): BlockLayout {
  const { hiddenSize: hidden } = config;
  const block = new BlockBuilder('layer', layer, `model.layers.${layer}.`, familyOf(config).names);
  const norm = (name: string): Part => ({ name: `${name}.weight`, shape: [hidden], init: 'ones' });
  block.add('inputNorm', [hidden], [norm('input_layernorm')]);
  addAttention(block, config);
  block.add('feedForwardNorm', [hidden], [norm('post_attention_layernorm')]);
  if (isSparseLayer(config, layer)) addMixture(block, config);
  else addFeedForward(block, 'dense', 'mlp', config.intermediateSize, hidden);
  return block.build();
}

/** Router, experts and shared expert of a layer. */
function addMixture(block: BlockBuilder, config: ModelConfig): void {
  const { hiddenSize: hidden, numExperts, sharedExpertIntermediateSize: sharedWidth } = config;
  const shared: Part[] =
    sharedWidth > 0 ? [{ name: 'mlp.shared_expert_gate.weight', shape: [1, hidden] }] : [];
  const router = routerParts(config);
  // With one expert nothing is chosen: router rows stand apart, untouched, for the merge.
  const gates = numExperts > 1 ? [...router.rows, ...shared] : shared;
  const rows = gates.reduce((sum, part) => sum + part.shape[0]!, 0);
  if (rows > 0) block.add('gates', [rows, hidden], gates);
  if (numExperts > 1) for (const part of router.others) block.add('gateSecond', part.shape, [part]);
  addExperts(block, config);
  if (sharedWidth > 0) addFeedForward(block, 'shared', 'mlp.shared_expert', sharedWidth, hidden);
  if (numExperts > 1) return;
  for (const part of [...router.rows, ...router.others]) block.add('router', part.shape, [part], false);
}

/** The router's tensors: those that multiply x, with a row for each expert, and others. */
function routerParts({ router, numExperts, hiddenSize }: ModelConfig): { rows: Part[]; others: Part[] } {
  const part = (name: string, width = hiddenSize): Part => ({
    name: `mlp.gate.${name}`,
    shape: [numExperts, width],
    role: 'router',
  });
  if (router === 'none') return { rows: [], others: [] };
  if (router === 'softmax') return { rows: [part('weight')], others: [] };
  return {
    rows: [part('gate_network.0.weight'), { ...part('weight_noise.weight'), init: 'zeros' }],
    others: [part('gate_network.2.weight', numExperts)],
  };
}

/**
 * The blocks of a model in order: embedding, layers from 0, head. Allocates nothing.
 * Tied embeddings are one parameter, that of the embedding block.
 */
export function parameterLayout(config: ModelConfig): BlockLayout[] {
  const { vocabSize, hiddenSize, numHiddenLayers } = config;
  const { names } = familyOf(config);
  const embedding = new BlockBuilder('embedding', null, '', names);
  const table = [vocabSize, hiddenSize];
  embedding.add('table', table, [{ name: 'model.embed_tokens.weight', shape: table }]);
  const head = new BlockBuilder('head', null, '', names);
  head.add('norm', [hiddenSize], [{ name: 'model.norm.weight', shape: [hiddenSize], init: 'ones' }]);
  if (!config.tieWordEmbeddings) head.add('table', table, [{ name: 'lm_head.weight', shape: table }]);
  const layers = Array.from({ length: numHiddenLayers }, (_, layer) => layerLayout(config, layer));
  return [embedding.build(), ...layers, head.build()];
}

/** Numbers of parameters. `total` = `backbone` + `experts` + `router`. */
export interface ParameterCount {
  total: number;
  backbone: number;
  experts: number;
  router: number;
  /** Those that gradients and moments are kept for. */
  trained: number;
  /** Those that take part in the computation of one token: top-k of the experts, embedding and head included. */
  active: number;
  /** The two tables: input embedding and (0 when tied) output head. */
  embedding: number;
  head: number;
}

/** Counts the parameters of a configuration without allocating any. */
export function countParameters(config: ModelConfig): ParameterCount {
  const count = { backbone: 0, expert: 0, router: 0 };
  const blocks = parameterLayout(config);
  for (const block of blocks) for (const { role, size } of block.parameters) count[role] += size;
  const sizeOf = (name: string): number =>
    blocks.flatMap((block) => block.parameters).find((parameter) => parameter.name === name)?.size ?? 0;
  const idle = (count.expert / config.numExperts) * (config.numExperts - config.numExpertsPerTok);
  const total = count.backbone + count.expert + count.router;
  return {
    total,
    backbone: count.backbone,
    experts: count.expert,
    router: count.router,
    trained: blocks.reduce((sum, block) => sum + block.trainedSize, 0),
    active: total - idle,
    embedding: sizeOf('model.embed_tokens.weight'),
    head: sizeOf('lm_head.weight'),
  };
}

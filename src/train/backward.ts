/**
 * Loss and gradients of one micro-batch, by two drivers that give the same numbers: autograd over the graph of
 * all layers, or backward block by block, each block's graph cut at its edges and freed as soon as it was used.
 *
 * Both write the ends by hand: the head's logits (loss.ts) and the embedding's row additions.
 */
import type { TokenBatch } from '../model/batch.js';
import type { RouterStatistics } from '../model/block.js';
import type { Decoder, ForwardOptions } from '../model/decoder.js';
import { balanceLoss, balanceOutput, crossEntropyWithGradient } from '../model/loss.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

export interface GradientRequest extends Pick<ForwardOptions, 'forcedExperts' | 'noise'> {
  /** Target tokens of the whole global batch: what the sum of losses is divided by. */
  globalTargets: number;
  /** Share of this micro-batch in the balance loss of the step, 1 / (number of micro-batches); default 1. */
  balanceScale?: number;
  mode: 'graph' | 'blocks';
  /**
   * Called once per block, by its number in the store, as soon as its gradient of this micro-batch is complete:
   * from the head down, the embedding last. With `graph` all calls come after the backward pass.
   */
  onBlockGradient?: (block: number) => void;
}

export interface LossResult {
  /** Sum of the cross entropies of this micro-batch divided by `globalTargets`. */
  crossEntropy: number;
  /** The load-balancing loss before its coefficient; null where it does not count. */
  balanceLoss: number | null;
  /** crossEntropy + coefficient * balanceScale * balanceLoss: what the gradients are those of. */
  loss: number;
  /** Per layer that routes, how many (token, slot) pairs each expert took. */
  expertTokens: number[][];
}

/** A part of the graph, from a detached input to outputs that wait for their gradients. */
interface Segment {
  input: Tensor;
  output: Tensor;
  routing: RouterStatistics[];
  /** Blocks of the store that it covers, last first. */
  blocks: number[];
}

/**
 * Adds the gradients of loss = CE / globalTargets + coefficient * balanceScale * balance to those of the store.
 * The balance loss counts only with output_router_logits, as in transformers, and is that of this micro-batch.
 *
 * @throws RangeError when the store keeps no gradients
 */
export function lossAndGradients(model: Decoder, batch: TokenBatch, request: GradientRequest): LossResult {
  if (!model.store.training) throw new RangeError('the store keeps no gradients');
  return torch.scope(() => {
    const segments = forward(model, batch, request);
    const top = segments.at(-1)!;
    const routing = segments.flatMap((segment) => segment.routing);
    const { config } = model;
    const counts = config.outputRouterLogits && config.routerAuxLossCoef > 0;
    const weight = config.routerAuxLossCoef * (request.balanceScale ?? 1);
    const balance = counts && routing.length > 0 ? balanceLoss(routing, batch.tokens) : null;

    const { table } = model.head;
    const head = { hidden: top.output.detach(), table: table.detach(), labels: batch.labels };
    const { loss, gradient } = crossEntropyWithGradient(head, 1 / request.globalTargets, table.grad!);
    const crossEntropy = loss.sum(null, { dtype: 'float64' }).item() / request.globalTargets;
    const expertTokens = routing.map((layer) => layer.counts.toNumbers());

    backward(segments, gradient, balance?.gradient.mul(weight) ?? null, request.onBlockGradient);
    model.embedding.accumulate(batch.inputIds, segments[0]!.input.grad!);
    request.onBlockGradient?.(0);

    // With one expert every share and probability is 1: the loss is the constant 1, or 0 where it is a variation.
    const alone = config.router === 'softmax' ? 1 : 0;
    const constant = counts && config.numExperts === 1 && hasExperts(model) ? alone : null;
    const value = balance?.value ?? constant;
    return { crossEntropy, balanceLoss: value, loss: crossEntropy + weight * (value ?? 0), expertTokens };
  });
}

function hasExperts(model: Decoder): boolean {
  return model.store.parameters.some((parameter) => parameter.role === 'expert');
}

/** The forward pass as one segment, or as one per block. */
function forward(model: Decoder, batch: TokenBatch, request: GradientRequest): Segment[] {
  const context = model.context(batch, { forcedExperts: request.forcedExperts, noise: request.noise });
  const last = model.layers.length + 1;
  const segments: Segment[] = [];
  let open: Segment | null = null;
  const extend = (
    block: number,
    run: (h: Tensor) => { h: Tensor; routing?: RouterStatistics | null },
  ): void => {
    if (!open || request.mode === 'blocks') {
      const from: Tensor = open ? open.output.detach() : model.embedding.forward(batch.inputIds);
      const input = from.requiresGrad_();
      open = { input, output: input, routing: [], blocks: [] };
      segments.push(open);
    }
    const segment: Segment = open;
    const result = torch.scope(() => run(segment.output));
    segment.output = result.h;
    segment.blocks.unshift(block);
    if (result.routing) segment.routing.push(result.routing);
  };
  model.layers.forEach((layer, index) => {
    extend(index + 1, (h) => layer.forward(h, context));
  });
  extend(last, (h) => ({ h: model.head.forward(h) }));
  return segments;
}

/** Walks the segments from the last to the first, each from the gradient of its output and of its routers. */
function backward(
  segments: readonly Segment[],
  gradient: Tensor,
  routerGradient: Tensor | null,
  onBlockGradient: ((block: number) => void) | undefined,
): void {
  let incoming = gradient;
  for (const segment of [...segments].reverse()) {
    const routers = routerGradient ? segment.routing.map(balanceOutput) : [];
    torch.backward([segment.output, ...routers], [incoming, ...routers.map(() => routerGradient!)]);
    // The graph goes with its outputs.
    segment.output.dispose();
    for (const layer of segment.routing) {
      layer.probabilities.dispose();
      layer.balance?.dispose();
    }
    incoming.dispose();
    incoming = segment.input.grad!;
    for (const block of segment.blocks) onBlockGradient?.(block);
  }
}

/**
 * The two losses: cross entropy of the next token, and the load-balancing loss of the routers.
 * Shape letters: src/model/block.ts.
 */
import type { RouterStatistics } from '../model/block.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

/** Logits computed at once, in elements: several copies of a chunk must fit a processor's cache. */
const CHUNK_ELEMENTS = 2 ** 20;

/** What {@link crossEntropy} reads. */
export interface CrossEntropyInput {
  /** [N, H] normalised hidden states; their graph is not touched. */
  hidden: Tensor;
  /** [V, H] */
  table: Tensor;
  /** int64 [N], -100 where there is no target. */
  labels: Tensor;
}

/**
 * Loss of every row, -log softmax(hidden table^T)[label] in float32, 0 where there is no target. Logits exist
 * only for a chunk of rows at a time.
 *
 * @returns float32 [N]
 */
export function crossEntropy(input: CrossEntropyInput): Tensor {
  return torch.scope(() =>
    torch.noGrad(() => torch.cat(chunks(input).map((chunk) => chunkLoss(input, chunk).loss))),
  );
}

/**
 * The same with gradients of `scale` * sum of losses: that of the hidden states is returned, that of the table
 * accumulated in place. Written out by hand because a chunk's gradient, softmax - onehot, is best made where its
 * logits are.
 *
 * @param tableGradient [V, H], accumulated into
 * @returns `loss` float32 [N], not scaled; `gradient` [N, H]
 */
export function crossEntropyWithGradient(
  input: CrossEntropyInput,
  scale: number,
  tableGradient: Tensor,
): { loss: Tensor; gradient: Tensor } {
  return torch.scope(() =>
    torch.noGrad(() => {
      const parts = chunks(input).map((chunk) =>
        torch.scope(() => {
          const { loss, logProbabilities, hidden, targets, hasTarget } = chunkLoss(input, chunk);
          const minusOne = torch.full([...targets.shape], -1, options(logProbabilities));
          const error = logProbabilities.exp_().scatterAdd_(1, targets, minusOne).to({ dtype: hidden.dtype });
          const weight = hasTarget.mul(scale).to({ dtype: hidden.dtype });
          tableGradient.addmm_(error.t(), hidden.mul(weight));
          return { loss, gradient: error.mm(input.table).mul_(weight) };
        }),
      );
      return {
        loss: torch.cat(parts.map((part) => part.loss)),
        gradient: torch.cat(parts.map((part) => part.gradient)),
      };
    }),
  );
}

interface Chunk {
  first: number;
  count: number;
}

function chunks({ hidden, table }: CrossEntropyInput): Chunk[] {
  const rows = hidden.shape[0]!;
  const size = Math.max(1, Math.floor(CHUNK_ELEMENTS / table.shape[0]!));
  const starts = Array.from({ length: Math.ceil(rows / size) }, (_, index) => index * size);
  return starts.map((first) => ({ first, count: Math.min(size, rows - first) }));
}

function chunkLoss(input: CrossEntropyInput, { first, count }: Chunk) {
  const hidden = input.hidden.narrow(0, first, count);
  const labels = input.labels.narrow(0, first, count).unsqueeze(1);
  const precise = hidden.dtype === 'float64' ? 'float64' : 'float32';
  const logProbabilities = hidden.mm(input.table.t()).logSoftmax(-1, { dtype: precise });
  const hasTarget = labels.ge(0).to({ dtype: precise });
  const targets = labels.clamp({ min: 0 });
  const loss = logProbabilities.gather(1, targets).mul(hasTarget).neg().squeeze(1);
  return { loss, logProbabilities, hidden, targets, hasTarget };
}

function options(tensor: Tensor) {
  return { dtype: tensor.dtype, device: tensor.device };
}

/** The load-balancing loss of a micro-batch and how it pulls on each layer's probabilities. */
export interface BalanceLoss {
  /** E * sum_e f_e p_e, K at perfect balance. */
  value: number;
  /** [E] its gradient with respect to every layer's sums of probabilities: E f_e / rows. */
  gradient: Tensor;
}

/**
 * Load-balancing loss of Switch and Qwen over all layers concatenated:
 * f_e = (pairs sent to e) / rows, p_e = (sum of probabilities of e) / rows, rows = layers * unpadded tokens;
 * loss = E * sum_e f_e p_e. Only p carries a gradient, and the same one for every layer.
 *
 * @param tokens unpadded tokens of the micro-batch
 */
export function balanceLoss(routing: readonly RouterStatistics[], tokens: number): BalanceLoss {
  return torch.scope(() =>
    torch.noGrad(() => {
      const rows = routing.length * tokens;
      const experts = routing[0]!.counts.numel;
      const shares = torch
        .stack(routing.map((layer) => layer.counts))
        .sum(0)
        .div(rows);
      const means = torch
        .stack(routing.map((layer) => layer.probabilities))
        .sum(0)
        .div(rows);
      const value = shares.mul(means).sum().mul(experts).item();
      return { value, gradient: shares.mul(experts / rows).to({ dtype: means.dtype }) };
    }),
  );
}

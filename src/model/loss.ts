/**
 * The two losses: cross entropy of the next token, and the load-balancing loss of the routers.
 * Shape letters: src/model/block.ts.
 */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { RouterStatistics } from './block.js';

/**
 * Logits computed at once, in elements, and the fewest rows that they are computed for: on a CPU the copies of a
 * chunk shall fit the cache, elsewhere a chunk shall keep the device busy.
 */
const CHUNK = { cpu: { elements: 2 ** 19, rows: 64 }, other: { elements: 2 ** 27, rows: 512 } };

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
  return overChunks(input, (chunk) => {
    const logits = logitsOf(chunk, input.table);
    return { loss: lossOf(logits, logits.logsumexp(-1, { keepdim: true }), chunk) };
  }).loss;
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
  return overChunks(input, (chunk) => {
    const { hidden, targets, hasTarget } = chunk;
    const logits = logitsOf(chunk, input.table);
    const probabilities = logits.softmax(-1);
    // p = e^(logit - logsumexp) at the largest logit spares a pass over the chunk and cannot underflow.
    const logSum = logits
      .amax({ dim: -1, keepdim: true })
      .sub(probabilities.amax({ dim: -1, keepdim: true }).log());
    const loss = lossOf(logits, logSum, chunk);
    const minusOne = torch.full([...targets.shape], -1, { dtype: logits.dtype, device: logits.device });
    const error = probabilities.scatterAdd_(1, targets, minusOne).to({ dtype: hidden.dtype });
    const weight = hasTarget.mul(scale).to({ dtype: hidden.dtype });
    tableGradient.addmm_(error.t(), hidden.mul(weight));
    return { loss, gradient: error.mm(input.table).mul_(weight) };
  });
}

/** Rows of the input that are computed at once. */
interface Chunk {
  /** [n, H] */
  hidden: Tensor;
  /** int64 [n, 1], 0 where there is no target */
  targets: Tensor;
  /** [n, 1]: 1 or 0 */
  hasTarget: Tensor;
}

/** Runs `body` on one chunk of rows after another, without a graph, and joins what it returns by rows. */
function overChunks<K extends string>(
  input: CrossEntropyInput,
  body: (chunk: Chunk) => Record<K, Tensor>,
): Record<K, Tensor> {
  const { hidden, table, labels } = input;
  const rows = hidden.shape[0]!;
  const limit = hidden.device === 'cpu' ? CHUNK.cpu : CHUNK.other;
  const size = Math.max(limit.rows, Math.floor(limit.elements / table.shape[0]!));
  const dtype = hidden.dtype === 'float64' ? 'float64' : 'float32';
  const run = (first: number): Record<K, Tensor> => {
    const count = Math.min(size, rows - first);
    const column = labels.narrow(0, first, count).unsqueeze(1);
    const [targets, hasTarget] = [column.clamp({ min: 0 }), column.ge(0).to({ dtype })];
    return body({ hidden: hidden.narrow(0, first, count), targets, hasTarget });
  };
  return torch.scope(() =>
    torch.noGrad(() => {
      const parts: Record<K, Tensor>[] = [];
      for (let first = 0; first < rows; first += size) parts.push(torch.scope(() => run(first)));
      const names = Object.keys(parts[0]!) as K[];
      const joined = names.map((name) => [name, torch.cat(parts.map((part) => part[name]))] as const);
      return Object.fromEntries(joined) as Record<K, Tensor>;
    }),
  );
}

/** Logits [n, V] in float32 (float64 for float64). */
function logitsOf({ hidden, hasTarget }: Chunk, table: Tensor): Tensor {
  return hidden.mm(table.t()).to({ dtype: hasTarget.dtype });
}

/** logSum - logit of the target, 0 where there is none: [n]. */
function lossOf(logits: Tensor, logSum: Tensor, { targets, hasTarget }: Chunk): Tensor {
  return logSum.sub(logits.gather(1, targets)).mul(hasTarget).squeeze(1);
}

/** The load-balancing loss of a micro-batch and how it pulls on what each layer's routers hand out. */
export interface BalanceLoss {
  value: number;
  /** Its gradient with respect to every layer's {@link balanceOutput}. */
  gradient: Tensor;
}

/** What the balance loss of a layer is a function of: its own loss [], or its sums of probabilities [E]. */
export function balanceOutput({ balance, probabilities }: RouterStatistics): Tensor {
  return balance ?? probabilities;
}

/**
 * The load-balancing loss before its coefficient.
 *
 * Of Switch and Qwen, over all layers concatenated: f_e = (pairs sent to e) / rows, p_e = (sum of probabilities of
 * e) / rows, rows = layers * unpadded tokens; loss = E * sum_e f_e p_e, K at perfect balance. Only p carries a
 * gradient, and the same one for every layer: E f_e / rows.
 *
 * Of LLaMA-MoE: the sum of the layers' own losses (noisy-router.ts).
 *
 * @param tokens unpadded tokens of the micro-batch
 */
export function balanceLoss(routing: readonly RouterStatistics[], tokens: number): BalanceLoss {
  return torch.scope(() =>
    torch.noGrad(() => {
      if (routing[0]!.balance) {
        const losses = torch.stack(routing.map((layer) => layer.balance!));
        return {
          value: losses.sum(null, { dtype: 'float64' }).item(),
          gradient: losses.select(0, 0).onesLike(),
        };
      }
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

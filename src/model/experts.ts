/**
 * Routed experts: tokens sorted by expert, each expert once on its rows; no loop over tokens and nothing
 * computed for experts that a token does not take. Shape letters: block.ts.
 */

import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { swiglu } from './feed-forward.js';
import { countTokens, type Routing } from './router.js';
import { type BlockStorage, tensorOf } from './store.js';

/** What is added to, [N, H], and whether nothing else reads it, so that it may be added to in place. */
interface Target {
  sum: Tensor;
  own: boolean;
}

/**
 * Adds sum_k weight_k * expert_k(x) to a sum.
 *
 * @param x [N, H]
 * @returns [N, H]
 */
export function addExperts(
  storage: BlockStorage,
  numExperts: number,
  x: Tensor,
  routing: Routing,
  target: Target,
): Tensor {
  return routing.experts
    ? addChosenExperts(storage, numExperts, x, { weights: routing.weights, experts: routing.experts }, target)
    : addAllExperts(storage, numExperts, x, routing.weights, target);
}

/** Every token takes every expert: nothing to sort. */
function addAllExperts(
  storage: BlockStorage,
  numExperts: number,
  x: Tensor,
  weights: Tensor,
  target: Target,
): Tensor {
  let { sum, own } = target;
  weights.split(new Array<number>(numExperts).fill(1), { dim: 1 }).forEach((weight, expert) => {
    const inner = swiglu(x, tensorOf(storage, `experts.${expert}.gateUp`), weight);
    const down = tensorOf(storage, `experts.${expert}.down`).t();
    sum = own ? sum.addmm_(inner, down) : sum.addmm(inner, down);
    own = true;
  });
  return sum;
}

function addChosenExperts(
  storage: BlockStorage,
  numExperts: number,
  x: Tensor,
  routing: { weights: Tensor; experts: Tensor },
  target: Target,
): Tensor {
  const [tokens = 0, slots = 0] = routing.experts.shape;
  const hidden = x.shape[1]!;
  const { counts, order, place } = sortByExpert(routing.experts, numExperts);
  // Row copies rather than index_select: their gradient is a gather, not an index_add, which CUDA does not order.
  const rows = scatterRows(x.unsqueeze(1).expand([tokens, slots, hidden]).reshape([-1, hidden]), place);
  const perExpert = rows.split(counts);
  const weights = routing.weights.reshape([-1, 1]).indexSelect(0, order).split(counts);
  const outputs: Tensor[] = [];
  counts.forEach((count, expert) => {
    if (count === 0) return;
    const inner = swiglu(perExpert[expert]!, tensorOf(storage, `experts.${expert}.gateUp`), weights[expert]!);
    outputs.push(inner.mm(tensorOf(storage, `experts.${expert}.down`).t()));
  });
  const combined = scatterRows(torch.cat(outputs), order).view([tokens, slots, hidden]);
  return target.own ? target.sum.add_(combined.sum(1)) : target.sum.add(combined.sum(1));
}

/**
 * Sorts the N * K (token, slot) pairs by expert, stably.
 *
 * @returns `counts` per expert; `order` [N K]: which pair stands at each sorted place; `place` [N K]: its inverse
 */
function sortByExpert(
  experts: Tensor,
  numExperts: number,
): { counts: number[]; order: Tensor; place: Tensor } {
  return torch.noGrad(() => {
    const counts = countTokens(experts, numExperts, null).toNumbers();
    const order = experts.flatten().argsort({ stable: true });
    const pairs = torch.arange(0, experts.numel, { dtype: 'int64', device: experts.device });
    const place = order.zerosLike().scatter_(0, order, pairs);
    return { counts, order, place };
  });
}

/** y with y[index[i]] = rows[i]; `index` is a permutation. */
function scatterRows(rows: Tensor, index: Tensor): Tensor {
  return torch.empty([...rows.shape], { dtype: rows.dtype, device: rows.device }).indexCopy_(0, index, rows);
}

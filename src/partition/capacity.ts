/**
 * Assignment under a limit on the sizes of clusters, so that the sum of squared distances is the smallest that the
 * limit allows. Every cluster has a price, added to its distances. A cluster with too much raises its price until just
 * the excess prefers another one (Bertsekas' auction for the transportation problem): prices only rise, and where no
 * cluster has too much, those with a price are full, which is what makes the assignment the best one.
 *
 * Shapes: n vectors, E clusters.
 */
import type { Pause } from './pause.js';

/** How large clusters may be. */
export interface SizeLimit {
  /** What each vector counts: 1, or its tokens. [n] */
  weights: ArrayLike<number>;
  /** Share by which a cluster may differ from the mean weight. */
  tolerance: number;
}

/** Least rise of a price at first, as a share of the largest distance: equally near vectors do not go in circles. */
const LEAST_RISE = 1e-6;
/** Rises per cluster after which the least rise doubles: clusters that lie together outbid each other in small steps. */
const PATIENCE = 8;

/** Weights that clusters may have: from `least` to `most`. */
export function bounds({ weights, tolerance }: SizeLimit, clusters: number): { least: number; most: number } {
  let total = 0;
  for (let i = 0; i < weights.length; i++) total += weights[i]!;
  const mean = total / clusters;
  // Whole weights never meet a share of the mean more nearly than to the next whole number.
  return {
    least: Math.min(Math.floor(mean), Math.ceil((1 - tolerance) * mean)),
    most: Math.max(Math.ceil(mean), Math.floor((1 + tolerance) * mean)),
  };
}

/**
 * Assigns vectors to clusters whose weights stay within {@link bounds}; where single weights are too large for that, as
 * near to them as they allow. No cluster is empty.
 *
 * @param distances row-major [n, E], n at least E
 * @returns int32 [n]
 */
export async function capacityAssignment(
  distances: Float32Array,
  limit: SizeLimit,
  pause: Pause,
): Promise<Int32Array> {
  const { weights } = limit;
  const n = weights.length;
  const clusters = distances.length / n;
  const market = new Market(distances, weights, clusters);
  let { least, most } = bounds(limit, clusters);
  for (let round = 1; ; round++) {
    const over = market.largest();
    if (market.loads[over]! <= most || market.members[over] === 1) break;
    market.raise(over, most);
    // Where even the largest price does not part them, single weights are too large for the limit: it gives way.
    if (round % (PATIENCE * clusters) === 0 && !market.doubleRise()) most = Math.ceil(1.05 * most);
    await pause();
  }
  for (let moved = true; moved; ) {
    const under = market.smallest();
    moved = market.loads[under]! < least && market.fill(under, least);
    await pause();
  }
  return market.labels;
}

/** Labels, prices and loads of an assignment in the making. */
class Market {
  readonly labels: Int32Array;
  readonly loads: Float64Array;
  readonly members: Float64Array;
  readonly #prices: Float64Array;
  readonly #largest: number;
  #leastRise: number;

  constructor(
    readonly distances: Float32Array,
    readonly weights: ArrayLike<number>,
    readonly clusters: number,
  ) {
    this.labels = new Int32Array(weights.length);
    this.loads = new Float64Array(clusters);
    this.members = new Float64Array(clusters);
    this.#prices = new Float64Array(clusters);
    let largest = 0;
    for (let i = 0; i < distances.length; i++) largest = Math.max(largest, distances[i]!);
    this.#largest = largest || 1;
    this.#leastRise = LEAST_RISE * this.#largest;
    for (let i = 0; i < weights.length; i++) this.#put(i, this.#best(i, -1));
  }

  /** Doubles the least rise of a price; false where it is the largest distance already. */
  doubleRise(): boolean {
    if (this.#leastRise > this.#largest) return false;
    this.#leastRise *= 2;
    return true;
  }

  /** The cluster with the largest load, of equal ones the first. */
  largest(): number {
    return this.loads.indexOf(Math.max(...this.loads));
  }

  /** The cluster with the smallest load, of equal ones the first. */
  smallest(): number {
    return this.loads.indexOf(Math.min(...this.loads));
  }

  /** Raises the price of cluster `k` until members that weigh what it has beyond `most` leave for others. */
  raise(k: number, most: number): void {
    const { order, regrets, others } = this.#regrets(k);
    let left = this.loads[k]!;
    let leaving = 0;
    // One stays: a cluster whose only member is too heavy cannot do better.
    while (left > most && leaving < order.length - 1) left -= this.weights[order[leaving++]!]!;
    this.#prices[k]! += regrets[leaving - 1]! + this.#leastRise;
    for (let i = 0; i < leaving; i++) this.#move(order[i]!, others[i]!);
  }

  /**
   * Moves the vectors that lose least to cluster `k` until it weighs `least`, from clusters that can spare them.
   * @returns whether one was moved
   */
  fill(k: number, least: number): boolean {
    const losses = new Float64Array(this.labels.length);
    for (let i = 0; i < losses.length; i++) losses[i] = this.#cost(i, k) - this.#cost(i, this.labels[i]!);
    const order = Int32Array.from(losses.keys())
      .filter((i) => this.labels[i] !== k)
      .sort((a, b) => losses[a]! - losses[b]! || a - b);
    let moved = false;
    for (const i of order) {
      if (this.loads[k]! >= least) break;
      const from = this.labels[i]!;
      if (this.members[from]! < 2 || this.loads[from]! - this.weights[i]! < least) continue;
      this.#move(i, k);
      moved = true;
    }
    return moved;
  }

  /** Members of cluster `k` by what they lose when they leave it, and where each would go. */
  #regrets(k: number): { order: Int32Array; regrets: Float64Array; others: Int32Array } {
    const members = new Int32Array(this.members[k]!);
    for (let i = 0, at = 0; i < this.labels.length; i++) if (this.labels[i] === k) members[at++] = i;
    const other = Int32Array.from(members, (i) => this.#best(i, k));
    const regret = Float64Array.from(members, (i, at) => this.#cost(i, other[at]!) - this.#cost(i, k));
    const rank = Int32Array.from(members.keys()).sort((a, b) => regret[a]! - regret[b]! || a - b);
    return {
      order: Int32Array.from(rank, (at) => members[at]!),
      regrets: Float64Array.from(rank, (at) => regret[at]!),
      others: Int32Array.from(rank, (at) => other[at]!),
    };
  }

  #cost(i: number, k: number): number {
    return this.distances[i * this.clusters + k]! + this.#prices[k]!;
  }

  /** The cheapest cluster of vector `i` but `not`, of equally cheap ones the first. */
  #best(i: number, not: number): number {
    let best = -1;
    let cost = Number.POSITIVE_INFINITY;
    for (let k = 0; k < this.clusters; k++) {
      if (k === not) continue;
      const here = this.#cost(i, k);
      if (here < cost || best === -1) {
        best = k;
        cost = here;
      }
    }
    return best;
  }

  #put(i: number, k: number): void {
    this.labels[i] = k;
    this.loads[k]! += this.weights[i]!;
    this.members[k]!++;
  }

  #move(i: number, k: number): void {
    const from = this.labels[i]!;
    this.loads[from]! -= this.weights[i]!;
    this.members[from]!--;
    this.#put(i, k);
  }
}

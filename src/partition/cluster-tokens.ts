/** What the clusters hold, token by token: hashes, counts, and how different their token distributions are. */
import { createHash } from 'node:crypto';
import type { TokenStore } from '../formats/token-store.js';
import type { Pause } from './pause.js';

/** Tokens between two pauses. */
const PAUSE_TOKENS = 1 << 20;

/** One pass over the store. */
export interface ClusterTokens {
  /**
   * SHA-256 of each cluster's documents in the order of the store: of each its number of tokens as uint32 and its
   * ids as int32, little-endian. The whole documents, however rows are cut.
   */
  hashes: string[];
  /** How often each token occurs in each cluster: [E][V]. */
  counts: Float64Array[];
  /** The same for the other partition. */
  otherCounts: Float64Array[];
}

/**
 * Hashes and counts the clusters of `labels`, and counts those of `other`.
 * @param limit tokens of a document that are trained on, and counted
 */
export async function readClusterTokens(
  store: TokenStore,
  labels: Int32Array,
  other: Int32Array,
  options: { clusters: number; vocabularySize: number; limit: number; pause: Pause },
): Promise<ClusterTokens> {
  const { clusters, vocabularySize, limit, pause } = options;
  const digests = Array.from({ length: clusters }, () => createHash('sha256'));
  const empty = () => Array.from({ length: clusters }, () => new Float64Array(vocabularySize));
  const [counts, otherCounts] = [empty(), empty()];
  let since = 0;
  for (let document = 0; document < store.documents; document++) {
    const ids = Int32Array.from(store.document(document));
    const digest = digests[labels[document]!]!;
    digest.update(new Uint8Array(Uint32Array.of(ids.length).buffer));
    digest.update(new Uint8Array(ids.buffer));
    const [mine, others] = [counts[labels[document]!]!, otherCounts[other[document]!]!];
    const end = Math.min(ids.length, limit);
    for (let i = 0; i < end; i++) {
      mine[ids[i]!]!++;
      others[ids[i]!]!++;
    }
    since += ids.length;
    if (since >= PAUSE_TOKENS) {
      since = 0;
      await pause();
    }
  }
  return { hashes: digests.map((digest) => digest.digest('hex')), counts, otherCounts };
}

/** Divergence of several distributions, in nats. */
export interface Divergence {
  /** Generalised Jensen-Shannon: H(sum_k w_k p_k) - sum_k w_k H(p_k). */
  nats: number;
  /** Its upper bound, H(w): what clusters without a common token would have. */
  maximum: number;
}

/**
 * Generalised Jensen-Shannon divergence of the token distributions of clusters, each weighted by its share w_k of
 * the tokens.
 * @param counts [E][V]
 */
export function jensenShannon(counts: readonly Float64Array[]): Divergence {
  const totals = counts.map((cluster) => cluster.reduce((sum, count) => sum + count, 0));
  const all = totals.reduce((sum, total) => sum + total, 0);
  if (all === 0) return { nats: 0, maximum: 0 };
  const mixture = new Float64Array(counts[0]!.length);
  for (const cluster of counts) for (let t = 0; t < mixture.length; t++) mixture[t]! += cluster[t]!;
  const within = counts.reduce(
    (sum, cluster, k) => (totals[k] === 0 ? sum : sum + (totals[k]! / all) * entropy(cluster, totals[k]!)),
    0,
  );
  return {
    nats: Math.max(0, entropy(mixture, all) - within),
    maximum: entropy(Float64Array.from(totals), all),
  };
}

/** Entropy in nats of counts that sum to `total`. */
function entropy(counts: Float64Array, total: number): number {
  let sum = 0;
  for (const count of counts) if (count > 0) sum -= (count / total) * Math.log(count / total);
  return sum;
}

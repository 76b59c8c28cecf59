/** Which experts the documents of which cluster go to, by layer. */
import { setImmediate } from 'node:timers/promises';
import { toDevice } from '../../model/batch.js';
import type { Decoder } from '../../model/decoder.js';
import * as torch from '../../torch/index.js';
import { type HeldOutDocuments, windowRows } from './documents.js';

/** An expert with less of the load than this part of an even share is dead. */
const DEAD = 0.01;

/** Tokens computed at once. */
const BATCH_TOKENS = 4096;

/** What the router of one layer does. */
export interface LayerAffinity {
  /** Row c: the router's probabilities of the experts, mean over the tokens of cluster c; null without tokens. */
  shares: (number[] | null)[];
  /** Share of all (token, slot) pairs that each expert takes. */
  load: number[];
  /** Entropy of the load over its largest value, ln E: 1 where it is even. */
  entropy: number;
  /** Experts with less than a hundredth of an even share. */
  dead: number[];
  /** Normalised mutual information of cluster and expert over (token, slot) pairs: 2 I / (H(cluster) + H(expert)). */
  information: number;
}

/**
 * The affinity of experts to clusters. Clusters go through the model one by one, so that the sums that a router hands
 * out are a cluster's.
 *
 * @param labels cluster of each document
 * @returns one entry for each layer that routes
 */
export async function expertAffinity(
  model: Decoder,
  held: HeldOutDocuments,
  labels: ArrayLike<number>,
  clusters: number,
  onBatch: () => void,
): Promise<LayerAffinity[]> {
  const rows = Math.max(1, Math.floor(BATCH_TOKENS / held.windows.window));
  const sums: { probabilities: number[]; counts: number[] }[][] = [];
  for (let cluster = 0; cluster < clusters; cluster++) {
    const places = held.places.filter(({ document }) => labels[document] === cluster);
    for (let first = 0; first < places.length; first += rows) {
      onBatch();
      const found = torch.scope(() =>
        torch.noGrad(() => {
          const batch = toDevice(windowRows(held, places.slice(first, first + rows)), model.store.device);
          return model.forward(batch).routing.map(({ probabilities, counts }) => ({
            probabilities: probabilities.toNumbers(),
            counts: counts.toNumbers(),
          }));
        }),
      );
      for (const [layer, { probabilities, counts }] of found.entries()) {
        sums[layer] ??= Array.from({ length: clusters }, () => ({
          probabilities: probabilities.map(() => 0),
          counts: counts.map(() => 0),
        }));
        const own = sums[layer][cluster]!;
        own.probabilities = own.probabilities.map((sum, e) => sum + probabilities[e]!);
        own.counts = own.counts.map((sum, e) => sum + counts[e]!);
      }
      await setImmediate();
    }
  }
  return sums.map(layerAffinity);
}

function layerAffinity(clusters: readonly { probabilities: number[]; counts: number[] }[]): LayerAffinity {
  const counts = clusters.map((cluster) => cluster.counts);
  const perExpert = counts[0]!.map((_, e) => counts.reduce((sum, row) => sum + row[e]!, 0));
  const load = shares(perExpert)!;
  const experts = load.length;
  return {
    shares: clusters.map(({ probabilities }) => shares(probabilities)),
    load,
    entropy: experts === 1 ? 1 : entropy(load) / Math.log(experts),
    dead: load.flatMap((share, e) => (share * experts < DEAD ? [e] : [])),
    information: normalisedInformation(counts),
  };
}

/** Values over their sum; null where that is 0. */
function shares(values: readonly number[]): number[] | null {
  const sum = values.reduce((total, value) => total + value, 0);
  return sum === 0 ? null : values.map((value) => value / sum);
}

function entropy(parts: readonly number[]): number {
  return parts.reduce((sum, part) => sum - (part > 0 ? part * Math.log(part) : 0), 0);
}

/** 2 I(rows; columns) / (H(rows) + H(columns)) of a table of counts; 0 where there is nothing to know. */
export function normalisedInformation(counts: readonly (readonly number[])[]): number {
  const total = counts.flat().reduce((sum, count) => sum + count, 0);
  if (total === 0) return 0;
  const rows = entropy(counts.map((row) => row.reduce((sum, count) => sum + count, 0) / total));
  const columns = entropy(
    counts[0]!.map((_, column) => counts.reduce((sum, row) => sum + row[column]!, 0) / total),
  );
  const joint = entropy(counts.flat().map((count) => count / total));
  const both = rows + columns;
  return both === 0 ? 0 : Math.max(0, (2 * (both - joint)) / both);
}

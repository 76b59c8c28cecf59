/** How far clusters agree with domains that are known: the usual three measures, from counts alone. */

/** 1 where both are the same; by chance about 0, purity aside. */
export interface Agreement {
  /** Mutual information by the mean of both entropies (Strehl and Ghosh 2002, arithmetic mean). */
  normalizedMutualInformation: number;
  /** Share of pairs that both put together or both apart, less what chance gives (Hubert and Arabie 1985). */
  adjustedRand: number;
  /** Share of documents whose domain is the most frequent one of their cluster. */
  purity: number;
}

/** How many documents of each domain each cluster has: [clusters][domains]. Those without one (-1) are left out. */
export function contingency(
  clusters: Int32Array,
  domains: Int32Array,
  sizes: { clusters: number; domains: number },
): number[][] {
  const table = Array.from({ length: sizes.clusters }, () => new Array<number>(sizes.domains).fill(0));
  for (let i = 0; i < clusters.length; i++) {
    const domain = domains[i]!;
    if (domain >= 0) table[clusters[i]!]![domain]!++;
  }
  return table;
}

/** The measures of a table of counts, [clusters][domains]. */
export function agreementOf(table: readonly (readonly number[])[]): Agreement {
  const rows = table.map((row) => sum(row));
  const columns = (table[0] ?? []).map((_, j) => sum(table.map((row) => row[j]!)));
  const n = sum(rows);
  if (n === 0) return { normalizedMutualInformation: 1, adjustedRand: 1, purity: 1 };
  let information = 0;
  for (const [i, row] of table.entries()) {
    for (const [j, count] of row.entries()) {
      if (count > 0) information += (count / n) * Math.log((count * n) / (rows[i]! * columns[j]!));
    }
  }
  const entropies = (entropy(rows, n) + entropy(columns, n)) / 2;
  const together = sum(table.map((row) => sum(row.map(pairs))));
  const [byRows, byColumns] = [sum(rows.map(pairs)), sum(columns.map(pairs))];
  const expected = (byRows * byColumns) / Math.max(1, pairs(n));
  const largest = (byRows + byColumns) / 2;
  return {
    // One cluster and one domain: both say nothing, and agree.
    normalizedMutualInformation: entropies === 0 ? 1 : Math.max(0, information) / entropies,
    adjustedRand: largest === expected ? 1 : (together - expected) / (largest - expected),
    purity: sum(table.map((row) => Math.max(0, ...row))) / n,
  };
}

const sum = (list: readonly number[]): number => list.reduce((total, value) => total + value, 0);
const pairs = (count: number): number => (count * (count - 1)) / 2;

function entropy(counts: readonly number[], n: number): number {
  return -sum(counts.map((count) => (count === 0 ? 0 : (count / n) * Math.log(count / n))));
}

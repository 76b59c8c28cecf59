/** The words that tell a cluster from the others, and the beginnings of documents. */

/** Weight of the prior, in words: differences resting on fewer occurrences count little. */
const PRIOR_WORDS = 10_000;
/** Words of more than this share of the documents say nothing of a subject, unless a cluster is as large. */
const COMMON = 1 / 3;
const COMMON_PER_CLUSTER = 1.2;
/** Where there are fewer documents than this, no word is left out as common. */
const FEW_DOCUMENTS = 20;
/** Letters, at least two, of any script; not the end of 19th, not the name of a mark such as <unk>. */
const WORD = /(?<![\p{L}\p{N}]|<\/?)\p{L}[\p{L}\p{M}]*\p{L}(?!>)/gu;

/** Words of a cluster and how often they occur. */
export class ClusterWords {
  readonly #counts: Map<string, number>[];
  readonly #documents = new Map<string, number>();
  #seen = 0;

  constructor(clusters: number) {
    this.#counts = Array.from({ length: clusters }, () => new Map());
  }

  /** Adds the text of a document. */
  add(cluster: number, text: string): void {
    const counts = this.#counts[cluster]!;
    const once = new Set<string>();
    for (const [found] of text.matchAll(WORD)) {
      const word = found.toLowerCase();
      counts.set(word, (counts.get(word) ?? 0) + 1);
      once.add(word);
    }
    for (const word of once) this.#documents.set(word, (this.#documents.get(word) ?? 0) + 1);
    this.#seen++;
  }

  /** Words counted in a cluster, repeats included. */
  size(cluster: number): number {
    return sum(this.#counts[cluster]!);
  }

  /**
   * For each cluster the words with the largest log-odds against the rest of the corpus, in units of its standard
   * deviation, under a Dirichlet prior with the corpus's own frequencies (Monroe, Colaresi and Quinn 2008). Words that
   * every text has count only where a cluster has no others. A single cluster has no rest to differ from: its words
   * are the most frequent ones.
   */
  characteristic(count: number): string[][] {
    const all = new Map<string, number>();
    for (const counts of this.#counts) {
      for (const [word, n] of counts) all.set(word, (all.get(word) ?? 0) + n);
    }
    const total = sum(all);
    return this.#counts.map((counts) => {
      const size = sum(counts);
      const scored = Array.from(counts, ([word, n]): [string, number] => {
        const inAll = all.get(word)!;
        if (this.#counts.length === 1) return [word, n];
        const prior = (PRIOR_WORDS * inAll) / total;
        const here = n + prior;
        const there = inAll - n + prior;
        const odds = Math.log(here / (size + PRIOR_WORDS - here));
        const oddsThere = Math.log(there / (total - size + PRIOR_WORDS - there));
        // A corpus of one word has no odds.
        return [word, (odds - oddsThere) / Math.sqrt(1 / here + 1 / there) || 0];
      });
      scored.sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
      const telling = scored.filter(([word, score]) => score > 0 && !this.#isCommon(word));
      return (telling.length > 0 ? telling : scored).slice(0, count).map(([word]) => word);
    });
  }

  #isCommon(word: string): boolean {
    const clusters = this.#counts.length;
    const common = clusters === 1 ? COMMON : Math.max(COMMON, COMMON_PER_CLUSTER / clusters);
    return this.#seen >= FEW_DOCUMENTS && this.#documents.get(word)! > common * this.#seen;
  }
}

function sum(counts: Map<string, number>): number {
  let total = 0;
  for (const n of counts.values()) total += n;
  return total;
}

/** The first `length` characters of a text on one line. */
export function beginning(text: string, length: number): string {
  const characters = Array.from(
    text
      .slice(0, 4 * length)
      .replace(/\s+/gu, ' ')
      .trim(),
  );
  return characters.length <= length ? characters.join('') : `${characters.slice(0, length - 1).join('')}…`;
}

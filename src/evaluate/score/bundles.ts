/**
 * Requests put together so that what they have in common is computed once. A bundle is one row of a pass: tokens
 * that its requests share, and behind them the branches by which they differ, each of which sees the shared tokens
 * and itself only. Rows with a beginning in common (a block of examples) have that computed before them.
 */

/** Continuation tokens to be scored after a context. */
export interface ScoreRequest {
  context: readonly number[];
  continuation: readonly number[];
}

/** A logit to be looked at: the one at `position` of the row, for `target`. */
interface ScoredToken {
  position: number;
  target: number;
}

/** One row. */
export interface Bundle {
  /** All tokens: shared ones, then branch after branch. */
  tokens: Int32Array;
  /** Place of each token in the text: branches all begin behind the shared tokens. */
  places: Int32Array;
  /** 0 for shared tokens, 1, 2, ... for those of the branches. */
  branches: Int32Array;
  /** For each request its number and its tokens in order. */
  scored: { request: number; tokens: ScoredToken[] }[];
}

/** Bundles that begin with the same tokens, which they all leave out. */
export interface Section {
  /** Computed once, before the bundles; may be empty. */
  beginning: Int32Array;
  bundles: Bundle[];
}

/** Beginnings shorter than this are not worth a pass of their own. */
const WORTHWHILE = 32;

/**
 * What a model is given: context and continuation, cut on the left to `maxLength` + 1 tokens, without the last one.
 * The continuation, of at most `maxLength` tokens, is never cut.
 */
function inputOf({ context, continuation }: ScoreRequest, maxLength: number): readonly number[] {
  const all = [...context, ...continuation];
  return all.slice(Math.max(0, all.length - maxLength - 1), -1);
}

function commonLength(a: ArrayLike<number>, b: ArrayLike<number>, most: number): number {
  let length = 0;
  while (length < most && a[length] === b[length]) length++;
  return length;
}

/** The bundle of requests, numbered from `first`. */
function bundle(requests: readonly ScoreRequest[], first: number, maxLength: number): Bundle {
  const inputs = requests.map((request) => inputOf(request, maxLength));
  const head = inputs[0]!;
  const shared = inputs.reduce(
    (length, input) => commonLength(head, input, Math.min(length, input.length)),
    head.length,
  );
  const tokens = head.slice(0, shared);
  const places = tokens.map((_, i) => i);
  const branches = tokens.map(() => 0);
  const known = new Map<string, { at: number; branch: number }>();
  const scored = inputs.map((input, i) => {
    const rest = input.slice(shared);
    const key = rest.join();
    const same = known.get(key) ?? { at: tokens.length, branch: known.size + 1 };
    if (!known.has(key)) {
      known.set(key, same);
      rest.forEach((token, j) => {
        tokens.push(token);
        places.push(shared + j);
        branches.push(same.branch);
      });
    }
    const { continuation } = requests[i]!;
    const start = input.length - continuation.length;
    return {
      request: first + i,
      tokens: continuation.map((target, j) => {
        const place = start + j;
        return { position: place < shared ? place : same.at + place - shared, target };
      }),
    };
  });
  return {
    tokens: Int32Array.from(tokens),
    places: Int32Array.from(places),
    branches: Int32Array.from(branches),
    scored,
  };
}

/** How many tokens at the beginning of a bundle are shared and not scored. */
function freeLength({ branches, scored }: Bundle): number {
  let shared = branches.indexOf(1);
  if (shared < 0) shared = branches.length;
  const earliest = scored.reduce(
    (least, { tokens }) => tokens.reduce((inner, { position }) => Math.min(inner, position), least),
    shared - 1,
  );
  return Math.max(0, earliest);
}

/** A bundle without its first `count` tokens. */
function without({ tokens, places, branches, scored }: Bundle, count: number): Bundle {
  return {
    tokens: tokens.slice(count),
    places: places.slice(count),
    branches: branches.slice(count),
    scored: scored.map(({ request, tokens: targets }) => ({
      request,
      tokens: targets.map(({ position, target }) => ({ position: position - count, target })),
    })),
  };
}

/**
 * Bundles of groups of requests, sorted into sections by what they begin with.
 *
 * @param groups requests that belong together: the choices of one question. Numbered through in this order
 * @param maxLength tokens that the model takes
 */
export function makeSections(groups: readonly (readonly ScoreRequest[])[], maxLength: number): Section[] {
  let first = 0;
  const byHead = new Map<string, Bundle[]>();
  for (const group of groups) {
    if (group.length === 0) continue;
    const made = bundle(group, first, maxLength);
    first += group.length;
    const key = freeLength(made) < WORTHWHILE ? '' : made.tokens.subarray(0, WORTHWHILE).join();
    const section = byHead.get(key);
    if (section === undefined) byHead.set(key, [made]);
    else section.push(made);
  }
  const alone: Bundle[] = [];
  const sections: Section[] = [];
  for (const [key, bundles] of byHead) {
    const head = bundles[0]!;
    const length =
      key === '' || bundles.length === 1
        ? 0
        : bundles.reduce(
            (least, other) => commonLength(head.tokens, other.tokens, Math.min(least, freeLength(other))),
            head.tokens.length,
          );
    if (length < WORTHWHILE) alone.push(...bundles);
    else {
      sections.push({
        beginning: head.tokens.slice(0, length),
        bundles: bundles.map((made) => without(made, length)),
      });
    }
  }
  if (alone.length > 0) sections.unshift({ beginning: new Int32Array(0), bundles: alone });
  return sections;
}

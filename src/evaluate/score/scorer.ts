/** Log-likelihoods of continuations. Shape letters: src/model/block.ts; P tokens stand before those of a pass. */
import { setImmediate } from 'node:timers/promises';
import type { TokenBatch } from '../../model/batch.js';
import { KeyValueCache } from '../../model/cache.js';
import type { Decoder } from '../../model/decoder.js';
import { ropeAngles, ropeTables } from '../../model/rope.js';
import type { Tensor } from '../../torch/index.js';
import * as torch from '../../torch/index.js';
import { type Bundle, makeSections, type ScoreRequest, type Section } from './bundles.js';
import { type Score, scoreTokens } from './tokens.js';

/** Tokens computed at once, padding included. */
const BATCH_TOKENS = 4096;
/** Elements of a pass's mask, which is a square of the rows' length. */
const MASK_ELEMENTS = 2 ** 24;
interface ScoreOptions {
  /** Tokens that the model takes; longer contexts lose their beginning. */
  maxLength: number;
  /** Told how many requests are done; awaited, and may throw to stop. */
  onProgress?: (done: number) => void | Promise<void>;
}

/**
 * Scores groups of requests. What the requests of a group have in common is computed once, and so is a long
 * beginning that groups have in common. Between passes the event loop goes on.
 *
 * @param groups the choices of one question each
 * @returns the scores, group after group
 */
export async function scoreRequests(
  model: Decoder,
  groups: readonly (readonly ScoreRequest[])[],
  { maxLength, onProgress }: ScoreOptions,
): Promise<Score[]> {
  const count = groups.reduce((sum, group) => sum + group.length, 0);
  const scores = new Array<Score>(count);
  let done = 0;
  for (const section of makeSections(groups, maxLength)) {
    const cache = cacheOf(model, section);
    try {
      for (const batch of batches(section)) {
        await onProgress?.(done);
        const found = scoreBatch(model, batch, cache);
        for (const { request, score } of found) scores[request] = score;
        done += found.length;
        await setImmediate();
      }
    } finally {
      cache?.dispose();
    }
  }
  await onProgress?.(done);
  return scores;
}

/** Keys and values of the beginning of a section; null where it is empty. */
function cacheOf(model: Decoder, { beginning }: Section): KeyValueCache | null {
  if (beginning.length === 0) return null;
  const { dtype, device } = model.store;
  const cache = new KeyValueCache(model.config, { rows: 1, capacity: beginning.length, dtype, device });
  try {
    torch.scope(() => torch.noGrad(() => void model.forward(tokenBatch([beginning], device), { cache })));
    return cache;
  } catch (error) {
    cache.dispose();
    throw error;
  }
}

/** The bundles of a section, longest first, as many at once as the budgets allow. */
function* batches({ bundles, beginning }: Section): Generator<Bundle[]> {
  const sorted = [...bundles].sort((a, b) => b.tokens.length - a.tokens.length);
  for (let first = 0; first < sorted.length; ) {
    const length = sorted[first]!.tokens.length;
    const rows = Math.min(BATCH_TOKENS / length, MASK_ELEMENTS / (length * (beginning.length + length)));
    const next = first + Math.max(1, Math.floor(rows));
    yield sorted.slice(first, next);
    first = next;
  }
}

function scoreBatch(
  model: Decoder,
  bundles: readonly Bundle[],
  cache: KeyValueCache | null,
): { request: number; score: Score }[] {
  return torch.scope(() =>
    torch.noGrad(() => {
      const batch = tokenBatch(
        bundles.map((one) => one.tokens),
        model.store.device,
      );
      const shared = cache?.shared(bundles.length);
      const { hidden } = model.forward(batch, { ...placesOf(model, bundles, batch, cache), cache: shared });
      return scoreTokens(model, hidden, bundles, batch.sequenceLength);
    }),
  );
}

function tokenBatch(rows: readonly Int32Array[], device: string): TokenBatch {
  const sequenceLength = rows.reduce((longest, row) => Math.max(longest, row.length), 0);
  const ids = new Int32Array(rows.length * sequenceLength);
  rows.forEach((row, r) => {
    ids.set(row, r * sequenceLength);
  });
  const inputIds = torch.tensor(ids, [ids.length], { dtype: 'int64', device });
  const tokens = ids.length;
  return { inputIds, labels: inputIds, valid: null, rows: rows.length, sequenceLength, tokens, targets: 0 };
}

/** RoPE's tables by the place of each token, and the mask of the branches; nothing where tokens follow one another. */
function placesOf(
  model: Decoder,
  bundles: readonly Bundle[],
  { rows, sequenceLength }: TokenBatch,
  cache: KeyValueCache | null,
): { rope?: { cosine: Tensor; sine: Tensor }; mask?: Tensor } {
  if (bundles.every(({ branches }) => (branches.at(-1) ?? 0) <= (branches[0] ?? 0))) return {};
  const { dtype, device } = model.store;
  const places = new Int32Array(rows * sequenceLength);
  const branches = new Int32Array(rows * sequenceLength);
  bundles.forEach((one, r) => {
    places.set(one.places, r * sequenceLength);
    branches.set(one.branches, r * sequenceLength);
  });
  const longest = places.reduce((most, place) => Math.max(most, place), 0) + 1;
  const tables = ropeTables(ropeAngles(model.config, longest), { dtype, device });
  const index = torch.tensor(places, [places.length], { dtype: 'int64', device });
  const table = (values: Tensor): Tensor =>
    values.indexSelect(0, index).view([rows, sequenceLength, 1, model.config.headDim]);
  const branch = torch.tensor(branches, [rows, 1, sequenceLength], { dtype: 'int32', device });
  const own = branch.eq(branch.transpose(1, 2)).logicalOr(branch.eq(0));
  const order = torch.arange(0, sequenceLength, { dtype: 'int64', device });
  const seen = own.logicalAnd(order.le(order.unsqueeze(1))).unsqueeze(1);
  const before = cache?.length ?? 0;
  const mask =
    before === 0
      ? seen
      : torch.cat([torch.ones([rows, 1, sequenceLength, before], { dtype: 'bool', device }), seen], {
          dim: 3,
        });
  return { rope: { cosine: table(tables.cosine), sine: table(tables.sine) }, mask };
}

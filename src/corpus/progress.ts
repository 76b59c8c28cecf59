/** What the corpus stage shows while it reads. */
import type { Reporter } from '../run/context.js';
import type { BuildState } from './build.js';
import type { SplitSummary } from './parts.js';
import { SPLITS } from './split.js';

/**
 * Shows how much was read and how fast it becomes tokens, and, where the sizes of the sources are known, the time
 * left. Speeds are those of this attempt.
 *
 * @param now milliseconds; a parameter so that a test need not wait
 */
export function progressOf(
  reporter: Pick<Reporter, 'progress'>,
  now: () => number = () => performance.now(),
): (state: BuildState) => void {
  let first: { at: number; tokens: number; read: number } | null = null;
  return ({ source, splits, read, size }) => {
    const sum = (key: keyof SplitSummary) => SPLITS.reduce((total, split) => total + splits[split][key], 0);
    const tokens = sum('tokens');
    // What an earlier attempt has read is passed over before the first batch.
    first ??= { at: now(), tokens, read };
    const seconds = (now() - first.at) / 1000;
    const speed = (read - first.read) / seconds;
    const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);
    const of = size === null ? '' : ` of ${megabytes(size)}`;
    reporter.progress({
      stage: 'corpus',
      note: `${source}: ${megabytes(read)}${of} MB read, ${(tokens / 1e6).toFixed(1)} M tokens`,
      ...(seconds > 0 && { tokensPerSecond: (tokens - first.tokens) / seconds }),
      ...(size !== null && speed > 0 && { secondsLeft: Math.max(0, size - read) / speed }),
    });
  };
}

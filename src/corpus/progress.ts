/** What the corpus stage shows while it reads. */
import type { Reporter } from '../run/context.js';
import type { BuildPosition, SplitSummary } from './parts.js';
import { SPLITS, type Split } from './split.js';

/** Shows how much text was read and how fast it becomes tokens; of a resumed build the speed of this attempt. */
export function progressOf(
  reporter: Reporter,
): (position: BuildPosition, splits: Record<Split, SplitSummary>) => void {
  const began = performance.now();
  let before: number | null = null;
  return ({ source }, splits) => {
    const sum = (key: keyof SplitSummary) => SPLITS.reduce((total, split) => total + splits[split][key], 0);
    const tokens = sum('tokens');
    before ??= tokens;
    const seconds = (performance.now() - began) / 1000;
    reporter.progress({
      stage: 'corpus',
      note: `${source}: ${(sum('bytes') / 1e6).toFixed(1)} MB of text read, ${(tokens / 1e6).toFixed(1)} M tokens`,
      tokensPerSecond: (tokens - before) / seconds,
    });
  };
}

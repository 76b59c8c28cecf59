/** How a stage shows what goes on with the Hub, and stops it. */
import { StoppedError } from '../../errors.js';
import type { StageRun } from '../../run/context.js';
import type { HubOptions } from './client.js';

/** Milliseconds between two lines of progress. */
const INTERVAL = 500;

/** Options by which the corpus stage asks the Hub: progress and waits are shown, a request to stop is heard. */
export function reportingTo({ recipe, reporter, stop }: StageRun): HubOptions {
  let shown = 0;
  return {
    say: (text) => reporter.say(`corpus: ${text}`),
    progress: (file, bytes, of) => {
      if (Date.now() - shown < INTERVAL && bytes < of) return;
      shown = Date.now();
      const megabytes = (count: number): string => (count / 1e6).toFixed(1);
      reporter.progress({
        stage: 'corpus',
        note: `downloading ${file}: ${megabytes(bytes)} of ${megabytes(of)} MB`,
      });
    },
    between: () => {
      if (!stop.requested) return;
      throw new StoppedError(
        `corpus: stopped (${stop.reason}) while downloading; what has arrived is kept.`,
        {
          hint: 'run the same command again to continue',
        },
      );
    },
    readsAll: recipe.corpus.maxDocuments === null,
  };
}

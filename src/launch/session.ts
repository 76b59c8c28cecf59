/** What every command that works for long has: somewhere to report, and a way to be stopped. */
import { type StageReporter, standardReporter } from './reporter.js';
import { StopRequest, stopOnSignals } from './stop.js';

export interface Session {
  reporter: StageReporter;
  stop: StopRequest;
  /** Called when the user wants to leave without waiting for anything to be saved. */
  onAbandon(abandon: () => void): void;
}

/** Does `work` with progress on standard error and with SIGINT and SIGTERM as requests to stop. */
export async function withSession<T>(work: (session: Session) => Promise<T>): Promise<T> {
  const reporter = standardReporter();
  const stop = new StopRequest();
  let abandon = () => {};
  const detach = stopOnSignals(stop, () => {
    reporter.close();
    abandon();
  });
  try {
    return await work({
      reporter,
      stop,
      onAbandon: (callback) => {
        abandon = callback;
      },
    });
  } finally {
    detach();
    reporter.close();
  }
}

/** Requests to stop: SIGINT and SIGTERM, or a supervisor's message. Looked at by stages between micro-steps. */
import { EXIT } from '../errors.js';
import type { StopSignal } from '../run/context.js';

/** A stop signal that can be given, and that others can wait for. */
export class StopRequest implements StopSignal {
  #reason: string | null = null;
  readonly #listeners: ((reason: string) => void)[] = [];

  get requested(): boolean {
    return this.#reason !== null;
  }

  /** Why the work is to stop; empty while it is not. */
  get reason(): string {
    return this.#reason ?? '';
  }

  /** Asks to stop. Only the first request counts. */
  request(reason: string): void {
    if (this.#reason !== null) return;
    this.#reason = reason;
    for (const listener of this.#listeners) listener(reason);
  }

  /** Calls `listener` when the first request comes, at once if it has come. */
  onRequest(listener: (reason: string) => void): void {
    if (this.#reason !== null) listener(this.#reason);
    else this.#listeners.push(listener);
  }
}

/**
 * Makes SIGINT and SIGTERM request a stop instead of ending the process. A second SIGINT ends it at once with
 * 75 after calling `abandon`: what the last checkpoint holds is kept.
 * @returns a function that takes the handlers away
 */
export function stopOnSignals(stop: StopRequest, abandon: () => void = () => {}): () => void {
  let interrupts = 0;
  const interrupt = () => {
    interrupts += 1;
    if (interrupts > 1) {
      abandon();
      process.exit(EXIT.stopped);
    }
    stop.request('SIGINT');
  };
  const terminate = () => stop.request('SIGTERM');
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', terminate);
  return () => {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', terminate);
  };
}

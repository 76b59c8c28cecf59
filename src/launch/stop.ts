/** Requests to stop: signals, or a supervisor's message. Looked at by stages between micro-steps. */
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

/** From a scheduler, and from a terminal that is closed. */
const GENTLE = ['SIGTERM', 'SIGHUP'] as const;

/**
 * Makes SIGINT, SIGTERM and SIGHUP request a stop instead of ending the process. A second SIGINT ends it at once with
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
  const terminate = (signal: string) => stop.request(signal);
  process.on('SIGINT', interrupt);
  for (const signal of GENTLE) process.on(signal, terminate);
  return () => {
    process.off('SIGINT', interrupt);
    for (const signal of GENTLE) process.off(signal, terminate);
  };
}

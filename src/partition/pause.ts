/** How long computations stay interruptible: they let the event loop turn between pieces of work. */
import { setImmediate } from 'node:timers/promises';
import { StoppedError } from '../errors.js';
import type { StopSignal } from '../run/context.js';

/** Called between pieces of work; throws when the work is to stop. */
export type Pause = () => Promise<void>;

/**
 * A pause that looks at a stop signal.
 * @throws StoppedError (from the pause) once a stop is requested.
 */
export function pauseOf(stop: StopSignal): Pause {
  return async () => {
    await setImmediate();
    if (stop.requested) {
      throw new StoppedError(`Stopped while clustering (${stop.reason}).`, {
        hint: 'run the same command again: this stage starts anew, it is short',
      });
    }
  };
}

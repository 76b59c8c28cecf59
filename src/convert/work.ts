/** Long work on folders: how far it is, and whether it shall stop. */
import { StoppedError } from '../errors.js';
import type { StageRun } from '../run/context.js';

/** Where to report, and the request to stop. */
export type Surroundings = Pick<StageRun, 'reporter' | 'stop'>;

/** Bytes between two reports. */
const REPORT_EVERY = 64e6;

const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(1);

/** Counts the bytes that one command has written. */
export class Work {
  #total = 0;
  #done = 0;
  #reported = 0;

  /** @param what the command, for messages */
  constructor(
    private readonly what: string,
    private readonly surroundings: Surroundings,
  ) {}

  /** Says how many bytes more will be written. */
  expect(bytes: number): void {
    this.#total += bytes;
  }

  /**
   * Counts bytes; call it for every piece.
   * @throws StoppedError when a stop was requested
   */
  add(bytes: number): void {
    const { reporter, stop } = this.surroundings;
    if (stop.requested) {
      throw new StoppedError(
        `Stopped (${stop.reason}) before the folder was complete; nothing of it is left.`,
        {
          hint: 'the same command again begins anew',
        },
      );
    }
    this.#done += bytes;
    if (this.#done < this.#reported + REPORT_EVERY) return;
    this.#reported = this.#done;
    const note = `${gigabytes(this.#done)} of ${gigabytes(this.#total)} GB`;
    reporter.progress({ stage: this.what, note });
  }
}

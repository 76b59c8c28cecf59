/**
 * metrics.jsonl of a training: a line for every optimizer step and one for every held-out evaluation. It is also
 * the memory of a training that goes on from a checkpoint: what it has measured up to there.
 */
import { z } from 'zod';
import { DataError } from '../errors.js';
import { JsonlWriter, readJsonl, truncateJsonlAfter } from '../formats/jsonl.js';
import type { TensorBoardWriter } from '../formats/tensorboard.js';
import { scalarsOf } from './scalars.js';

/** Steps over which the training loss is averaged for display and in the result. */
const WINDOW = 50;

/** What is read back of a line. `step` counts the steps done. */
const lineSchema = z.looseObject({
  step: z.int().nonnegative(),
  /** Training loss of the step. */
  loss: z.number().optional(),
  /** Held-out loss after the step. */
  heldOutLoss: z.number().optional(),
});

type Line = z.output<typeof lineSchema>;

/** The metrics of a training that is under way. Only the owner of the stage's folder may have them open. */
export class Metrics {
  readonly #path: string;
  readonly #writer: JsonlWriter;
  readonly #events: TensorBoardWriter | null;
  /** Losses of the last steps. */
  #recent: number[] = [];
  #heldOut: { step: number; loss: number } | null = null;

  /**
   * Opens the file, made where it is missing, and cuts off what was recorded after `step`: a training that goes on
   * from there repeats it.
   * @param events takes every line as scalars as well; closed with the metrics
   * @throws DataError naming a line that is damaged
   */
  constructor(path: string, step: number, events: TensorBoardWriter | null = null) {
    this.#path = path;
    this.#events = events;
    truncateJsonlAfter(path, (entry, line) => this.#parse(entry, line).step <= step);
    readJsonl(path).forEach((entry, index) => {
      this.#take(this.#parse(entry, index + 1));
    });
    // Opened last: cutting replaces the file.
    this.#writer = new JsonlWriter(path);
  }

  /** Mean training loss of the last steps, at most 50; null where none is known. */
  get smoothedLoss(): number | null {
    const { length } = this.#recent;
    return length === 0 ? null : this.#recent.reduce((sum, loss) => sum + loss, 0) / length;
  }

  /** The last held-out evaluation; null where there was none. */
  get heldOut(): { step: number; loss: number } | null {
    return this.#heldOut;
  }

  append(line: Line): void {
    this.#writer.append(line);
    this.#events?.append(line.step, scalarsOf(line));
    this.#take(line);
  }

  /** Makes what was appended durable: a checkpoint relies on it. */
  sync(): void {
    this.#writer.sync();
  }

  close(): void {
    this.#events?.close();
    this.#writer.close();
  }

  #take({ step, loss, heldOutLoss }: Line): void {
    if (loss !== undefined) this.#recent = [...this.#recent.slice(1 - WINDOW), loss];
    if (heldOutLoss !== undefined) this.#heldOut = { step, loss: heldOutLoss };
  }

  #parse(entry: unknown, line: number): Line {
    const result = lineSchema.safeParse(entry);
    if (result.success) return result.data;
    throw new DataError('A line of the metrics is damaged.', {
      file: this.#path,
      key: `line ${line}`,
      expected: 'a JSON object with a step and losses',
      found: JSON.stringify(entry).slice(0, 80),
      hint: 'bring the file back, or remove the folder that it lies in to train this stage anew',
    });
  }
}

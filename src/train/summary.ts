/** What a finished training says of itself in its DONE. */
import { z } from 'zod';
import { DataError } from '../errors.js';
import type { Done } from '../run/done.js';

const count = z.int().nonnegative();

export const trainingSummarySchema = z.object({
  /** Optimizer steps done. */
  steps: count,
  /** Tokens trained on, padding left out. */
  tokens: z.number().nonnegative(),
  /** Seconds of training steps, without evaluation, checkpoints and lost work. */
  seconds: z.number().nonnegative(),
  /** Mean training loss of the last window of steps; null where none is known. */
  loss: z.number().nullable(),
  /** Held-out loss after the last step; null where none is measured on the way. */
  heldOutLoss: z.number().nullable(),
  batchSize: count,
  sequenceLength: count,
});

export type TrainingSummary = z.output<typeof trainingSummarySchema>;

/** The summary of a training stage. @throws DataError where DONE does not hold what this program writes. */
export function trainingSummaryOf(done: Done): TrainingSummary {
  const result = trainingSummarySchema.safeParse(done.summary);
  if (result.success) return result.data;
  throw new DataError(`The DONE file of ${done.stage} is not as this program writes it.`, {
    key: `summary.${result.error.issues[0]!.path.join('.')}`,
  });
}

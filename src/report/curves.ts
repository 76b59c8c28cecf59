/** Loss curves: read from metrics.jsonl, smoothed, and asked when they reach a target. */
import { z } from 'zod';
import { DataError } from '../errors.js';
import { readJsonl } from '../formats/jsonl.js';

/** A loss (nats per token) after `step` optimizer steps. */
export interface Point {
  step: number;
  loss: number;
}

/** What one training recorded. Both lists are in order of steps, one point a step. */
export interface Curve {
  training: Point[];
  heldOut: Point[];
}

const line = z.looseObject({
  step: z.int().nonnegative(),
  loss: z.number().optional(),
  heldOutLoss: z.number().optional(),
});

/**
 * Reads a metrics.jsonl. Where a resumed training wrote a step twice, the later line counts.
 * @throws DataError naming the line that is not one of metrics
 */
export function readCurve(file: string): Curve {
  const training = new Map<number, number>();
  const heldOut = new Map<number, number>();
  for (const [index, value] of readJsonl(file).entries()) {
    const entry = line.safeParse(value);
    if (!entry.success) {
      throw new DataError('Unexpected content in metrics.', { file, key: `line ${index + 1}` });
    }
    const { step, loss, heldOutLoss } = entry.data;
    if (loss !== undefined) training.set(step, loss);
    if (heldOutLoss !== undefined) heldOut.set(step, heldOutLoss);
  }
  const points = (map: Map<number, number>): Point[] =>
    [...map].map(([step, loss]) => ({ step, loss })).sort((a, b) => a.step - b.step);
  return { training: points(training), heldOut: points(heldOut) };
}

/** Mean of each point and the `window - 1` before it; the first `window - 1` points have none. */
export function smoothed(points: readonly Point[], window: number): Point[] {
  return points.slice(window - 1).map(({ step }, first) => {
    let sum = 0;
    for (let i = first; i < first + window; i++) sum += points[i]!.loss;
    return { step, loss: sum / window };
  });
}

/** One training of an arm: its horizon (the whole schedule, which is what is billed) and its curve. */
export interface Trial {
  horizon: number;
  points: readonly Point[];
}

/** When an arm reaches a target. */
export interface Reach {
  target: number;
  /** Steps counted, or null: not reached. */
  steps: number | null;
  /** The loss at that step. */
  loss: number | null;
  /** Horizon of the training in which it was reached; of the longest one where it was not. Billed in whole. */
  billed: number;
  /** The lowest loss of any training. */
  lowest: number | null;
}

/**
 * Steps to a target, by one rule for every arm: the cheaper of the first crossing in any training and the
 * smallest horizon whose final loss suffices. With one training per arm this is its first crossing.
 */
export function stepsToTarget(trials: readonly Trial[], target: number): Reach {
  let best: Reach | null = null;
  let lowest: number | null = null;
  for (const { horizon, points } of trials) {
    const crossing = points.find(({ loss }) => loss <= target);
    if (crossing !== undefined && (best?.steps == null || crossing.step < best.steps)) {
      best = { target, steps: crossing.step, loss: crossing.loss, billed: horizon, lowest: null };
    }
    for (const { loss } of points) if (lowest === null || loss < lowest) lowest = loss;
  }
  const longest = Math.max(0, ...trials.map(({ horizon }) => horizon));
  return { ...(best ?? { target, steps: null, loss: null, billed: longest }), lowest };
}

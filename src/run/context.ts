/**
 * What every stage function is given: the run, its recipe, where to show progress and where to look for a
 * request to stop. Stages know nothing of terminals, signals or parent processes.
 */
import type { Recipe } from '../recipe/schema.js';
import type { RunFolder } from './folder.js';

/** One line of progress. Everything that is not known yet is left out. */
export interface Progress {
  /** Stage as in the run folder: `corpus`, `submodels/0`, `baseline`. */
  stage: string;
  /** What is being done, in words, when there are no steps. */
  note?: string;
  step?: number;
  steps?: number;
  loss?: number;
  heldOutLoss?: number;
  tokensPerSecond?: number;
  secondsLeft?: number;
  /** Dollars of this stage so far, at the recipe's rate for this machine. */
  dollars?: number;
}

/** Where a stage tells what it does. */
export interface Reporter {
  /** The current state; may be called at every step. */
  progress(progress: Progress): void;
  /** A line that stays: a decision, a result, a warning. */
  say(text: string): void;
}

/** A request to stop, looked at between micro-steps. */
export interface StopSignal {
  readonly requested: boolean;
  /** Why, for the message: `SIGTERM`, `parent gone`. */
  readonly reason: string;
}

/** The arguments of every stage function. */
export interface StageRun {
  run: RunFolder;
  recipe: Recipe;
  reporter: Reporter;
  stop: StopSignal;
  /** `cpu` or `cuda:N`. */
  device: string;
}

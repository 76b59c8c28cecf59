/** Learning rate by step: linear warm-up, then constant, or down to 0 at the last step. */

export interface Schedule {
  schedule: 'constant' | 'linear' | 'cosine';
  /** Peak learning rate. */
  learningRate: number;
  /** Share of the steps that warm up from 0. */
  warmupRatio: number;
}

/** Steps of warm-up: ceil(ratio * steps), as transformers' TrainingArguments has it. */
export function warmupSteps(warmupRatio: number, steps: number): number {
  return Math.ceil(warmupRatio * steps);
}

/**
 * The learning rate used at `step`, counted from 0, of `steps`: that of transformers'
 * get_{constant,linear,cosine}_schedule_with_warmup, whose first step of a warm-up has rate 0.
 */
export function learningRateAt(request: Schedule, step: number, steps: number): number {
  const warmup = warmupSteps(request.warmupRatio, steps);
  const peak = request.learningRate;
  if (step < warmup) return (peak * step) / Math.max(1, warmup);
  const progress = (step - warmup) / Math.max(1, steps - warmup);
  switch (request.schedule) {
    case 'constant':
      return peak;
    case 'linear':
      return peak * Math.max(0, 1 - progress);
    case 'cosine':
      return peak * Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
  }
}

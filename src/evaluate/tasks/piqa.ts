/** PIQA: which of two ways reaches a goal. */
import { z } from 'zod';
import { fieldsOf, type Task } from './task.js';

const schema = z.looseObject({
  goal: z.string(),
  sol1: z.string(),
  sol2: z.string(),
  label: z.int().min(0).max(1),
});

export const piqa: Task = {
  name: 'piqa',
  alias: 'piqa',
  version: 1,
  output: 'multiple_choice',
  set: { names: ['piqa'], hub: 'baber/piqa' },
  test: 'validation',
  // The harness takes "no test split" for "examples come from the same split", and so draws one more than it needs.
  shots: { split: 'train', sampling: 'random-but-itself' },
  description: '',
  metrics: ['acc', 'acc_norm'],
  chance: 0.5,
  example(row) {
    const { goal, sol1, sol2, label } = fieldsOf(row, schema);
    return { text: `Question: ${goal}\nAnswer:`, choices: [sol1, sol2], gold: label };
  },
};

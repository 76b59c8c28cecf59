/** HellaSwag: which of four endings goes on. */
import { z } from 'zod';
import { capitalize, strip } from '../python/text.js';
import { fieldsOf, type Task } from './task.js';

/** The original's layout; and prompts ready made, as the harness makes them. */
const original = z.looseObject({
  activity_label: z.string(),
  ctx_a: z.string(),
  ctx_b: z.string(),
  endings: z.array(z.string()).min(1),
  label: z.union([z.int(), z.string().regex(/^\d+$/)]).transform(Number),
});
const ready = z.looseObject({ query: z.string(), choices: z.array(z.string()).min(1), gold: z.int().min(0) });

export const hellaswag: Task = {
  name: 'hellaswag',
  alias: 'hellaswag',
  version: 1,
  output: 'multiple_choice',
  set: { names: ['hellaswag'], hub: 'Rowan/hellaswag' },
  test: 'validation',
  // As in PIQA: no test split, so one more is drawn.
  shots: { split: 'train', sampling: 'random-but-itself' },
  description: '',
  metrics: ['acc', 'acc_norm'],
  chance: 0.25,
  example(row) {
    if ('query' in row.value) {
      const { query, choices, gold } = fieldsOf(row, ready);
      return { text: query, choices, gold };
    }
    const { activity_label, ctx_a, ctx_b, endings, label } = fieldsOf(row, original);
    return {
      text: clean(`${activity_label}: ${ctx_a} ${capitalize(ctx_b)}`),
      choices: endings.map(clean),
      gold: label,
    };
  },
};

/** WikiHow's marks in brackets go, and with them one of each two blanks. */
function clean(text: string): string {
  return strip(text)
    .replaceAll(' [title]', '. ')
    .replace(/\[[^\n]*?\]/g, '')
    .replaceAll('  ', ' ');
}

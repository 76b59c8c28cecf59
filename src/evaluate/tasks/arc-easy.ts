/** ARC-Easy: questions of elementary science, three to five choices. */
import { z } from 'zod';
import { fieldsOf, type Task } from './task.js';

/** The original's layout, and the Hub's. */
const original = z.looseObject({
  question: z.looseObject({
    stem: z.string(),
    choices: z.array(z.looseObject({ text: z.string(), label: z.string() })).min(1),
  }),
  answerKey: z.string(),
});
const hub = z.looseObject({
  question: z.string(),
  choices: z.looseObject({ text: z.array(z.string()).min(1), label: z.array(z.string()).min(1) }),
  answerKey: z.string(),
});

export const arcEasy: Task = {
  name: 'arc_easy',
  alias: 'arc_easy',
  version: 1,
  output: 'multiple_choice',
  set: {
    names: ['arc_easy', 'arc-easy', 'ARC-Easy', 'ai2_arc'],
    hub: 'allenai/ai2_arc (ARC-Easy)',
    configuration: /ARC-Easy/i,
  },
  test: 'test',
  // Examples come from the training split, so the question itself is never among them.
  shots: { split: 'train', sampling: 'random' },
  description: '',
  metrics: ['acc', 'acc_norm'],
  chance: 0.25,
  example(row) {
    const { stem, texts, labels, answer } = parts(row);
    return { text: `Question: ${stem}\nAnswer:`, choices: texts, gold: labels.indexOf(answer) };
  },
};

function parts(row: Parameters<Task['example']>[0]) {
  if (typeof row.value.question === 'string') {
    const { question, choices, answerKey } = fieldsOf(row, hub);
    return { stem: question, texts: choices.text, labels: choices.label, answer: answerKey };
  }
  const { question, answerKey } = fieldsOf(row, original);
  return {
    stem: question.stem,
    texts: question.choices.map((choice) => choice.text),
    labels: question.choices.map((choice) => choice.label),
    answer: answerKey,
  };
}

/** LAMBADA in OpenAI's version: the last word of a passage. */
import { z } from 'zod';
import { fieldsOf, type Task } from './task.js';

const schema = z.looseObject({ text: z.string() });

export const lambadaOpenai: Task = {
  name: 'lambada_openai',
  alias: 'lambada_openai',
  version: 1,
  output: 'loglikelihood',
  set: {
    names: ['lambada_openai', 'lambada'],
    hub: 'EleutherAI/lambada_openai (default)',
    configuration: /default|_en\b/,
  },
  test: 'test',
  // The only split there is: a question may be among its own examples.
  shots: { split: 'test', sampling: 'random' },
  description: '',
  metrics: ['perplexity', 'acc'],
  chance: null,
  example(row) {
    const words = fieldsOf(row, schema).text.split(' ');
    return { text: words.slice(0, -1).join(' '), target: ` ${words.at(-1)!}` };
  },
};

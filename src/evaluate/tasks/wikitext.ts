/** WikiText-2, raw, a page at a time: word and byte perplexity of the text, its tokenisation undone. */
import { z } from 'zod';
import { PYTHON_SPACE } from '../python/text.js';
import { fieldsOf, type Task } from './task.js';

const schema = z.looseObject({ page: z.string() });

export const wikitext: Task = {
  name: 'wikitext',
  alias: 'wikitext',
  version: 2,
  output: 'loglikelihood_rolling',
  set: {
    names: ['wikitext', 'wikitext_document_level'],
    hub: 'EleutherAI/wikitext_document_level (wikitext-2-raw-v1)',
    configuration: /wikitext-2-raw/,
  },
  test: 'test',
  // A text as a whole has no prompt: shots change nothing.
  shots: { split: 'train', sampling: 'random' },
  description: '',
  metrics: ['word_perplexity', 'byte_perplexity', 'bits_per_byte'],
  chance: null,
  example(row) {
    const { page } = fieldsOf(row, schema);
    return { text: '', target: detokenize(page), original: page };
  },
};

/** Blanks that `open` and `close` have inside of them go. */
function tighten(text: string, open: string, close: string, inner: string): string {
  const pattern = `${open}[${PYTHON_SPACE}]*(${inner}*?)[${PYTHON_SPACE}]*${close}`;
  return text.replace(new RegExp(pattern, 'g'), (match, content: string) => {
    return `${match[0]!}${content}${match.at(-1)!}`;
  });
}

/** The harness's detokenizer, rule by rule and with its mistakes: the second rule writes what it looks for. */
function detokenize(page: string): string {
  let text = page.replaceAll("s '", "s'").replace(/\/' [0-9]\//g, "/'[0-9]/");
  for (const [mark, plain] of [
    [' @-@ ', '-'],
    [' @,@ ', ','],
    [' @.@ ', '.'],
    [' : ', ': '],
    [' ; ', '; '],
    [' . ', '. '],
    [' ! ', '! '],
    [' ? ', '? '],
    [' , ', ', '],
  ] as const) {
    text = text.replaceAll(mark, plain);
  }
  text = tighten(text, '\\(', '\\)', '[^)]');
  text = tighten(text, '\\[', '\\]', '[^\\]]');
  text = tighten(text, '\\{', '\\}', '[^}]');
  text = tighten(text, '"', '"', '[^"]');
  text = tighten(text, "'", "'", "[^']");
  for (const [mark, plain] of [
    ['= = = =', '===='],
    ['= = =', '==='],
    ['= =', '=='],
    [' ° ', '°'],
    [' \n', '\n'],
    ['\n ', '\n'],
    [' N ', ' 1 '],
    [" 's", "'s"],
  ] as const) {
    text = text.replaceAll(mark, plain);
  }
  return text;
}

/** `generate FOLDER`: text from a model, to see what it has learnt. */
import { type Command, InvalidArgumentError, Option } from '@commander-js/extra-typings';
import { DataError, RequestError } from '../errors.js';
import type { Sampling } from '../generate/sampling.js';
import { type GeneratedText, generateText } from '../launch/generate.js';
import { withSession } from '../launch/session.js';
import { deviceOption } from './arguments.js';

const ENDINGS = { end: 'at the end token', maxTokens: 'at --max-tokens', positions: 'at the last position' };

/** Reads a number that `fits`; `expected` says in words which do. */
function number(expected: string, fits: (value: number) => boolean) {
  return (text: string): number => {
    const value = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    if (!fits(value)) throw new InvalidArgumentError(`Expected ${expected}.`);
    return value;
  };
}

const whole = (least: number) =>
  number(`a whole number from ${least} on`, (value) => Number.isSafeInteger(value) && value >= least);

/** Adds the command. */
export function addGenerate(program: Command): void {
  const device = deviceOption();
  device.description = 'device to compute on: cpu or cuda:N';
  program
    .command('generate')
    .summary('continue a text with a model')
    .description(
      'Continues a prompt and prints the text as it comes. Each token is the most likely one, unless --temperature, ' +
        '--top-k, --top-p or --seed asks for drawing; the same seed draws the same text. Special tokens in the prompt, ' +
        'such as <|endoftext|>, are read as such.',
    )
    .argument('<folder>', "a Hugging Face folder, or that of a run's stage: runs/NAME/finetuned")
    .addOption(
      new Option(
        '--prompt <text>',
        'the text to continue; - reads it from standard input',
      ).makeOptionMandatory(),
    )
    .addOption(new Option('--max-tokens <n>', 'at most so many tokens').argParser(whole(1)).default(128))
    .addOption(
      new Option(
        '--temperature <t>',
        'divides the logits; 0 takes the most likely token (default when drawing: 1)',
      ).argParser(number('a number from 0 on', (value) => value >= 0 && value < Number.POSITIVE_INFINITY)),
    )
    .addOption(
      new Option('--top-k <k>', 'draw from the k most likely tokens; 0: from all').argParser(whole(0)),
    )
    .addOption(
      new Option(
        '--top-p <p>',
        'draw from the most likely tokens that have this probability together',
      ).argParser(number('a number above 0 and up to 1', (value) => value > 0 && value <= 1)),
    )
    .addOption(
      new Option('--seed <n>', 'decides what is drawn (default when drawing: 0)').argParser(whole(0)),
    )
    .addOption(new Option('--tokenizer <path>', "a tokenizer instead of the folder's"))
    .addOption(device.default('cpu'))
    .action((folder, { prompt, maxTokens, tokenizer, seed = 0, device, ...options }, command) =>
      withSession(async (session) => {
        const drawing = ['temperature', 'topK', 'topP', 'seed'].filter((key) => {
          return command.getOptionValueSource(key as 'seed') !== undefined;
        });
        const request = {
          folder,
          prompt: prompt === '-' ? await readStandardInput() : prompt,
          maxTokens,
          sampling: drawing.length === 0 ? null : samplingOf(options, drawing),
          seed,
          device,
          ...(tokenizer === undefined ? {} : { tokenizer }),
        };
        process.stdout.on('error', () => session.stop.request('nobody reads the text'));
        let open = false;
        try {
          const result = await generateText(request, session, (text) => {
            open ||= text !== '';
            process.stdout.write(text);
          });
          process.stdout.write('\n');
          open = false;
          session.reporter.say(summaryOf(result));
        } finally {
          if (open) process.stdout.write('\n');
        }
      }),
    );
}

/** What to draw from; null for temperature 0. Throws RequestError where that leaves other options without effect. */
function samplingOf(
  { temperature = 1, topK = 0, topP = 1 }: { temperature?: number; topK?: number; topP?: number },
  given: readonly string[],
): Sampling | null {
  if (temperature > 0) return { temperature, topK: topK === 0 ? null : topK, topP };
  if (given.length === 1) return null;
  throw new RequestError('At temperature 0 nothing is drawn, and other options for drawing have no effect.', {
    key: '--temperature',
    expected: 'a number above 0, or no --top-k, --top-p and --seed',
    found: '0',
  });
}

function summaryOf({ promptTokens, tokens, ending, seconds }: GeneratedText): string {
  const rate = tokens > 1 ? `, ${((tokens - 1) / seconds.rest).toFixed(1)} tokens/s` : '';
  return `${promptTokens} prompt tokens in ${seconds.prompt.toFixed(2)} s; ${tokens} tokens, stopped ${ENDINGS[ending]}${rate}`;
}

/** Standard input as text, without the line end that `echo` puts behind it. */
async function readStandardInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)).replace(/\r?\n$/, '');
  } catch (cause) {
    throw new DataError('The prompt is not text in UTF-8.', { file: 'standard input', cause });
  }
}

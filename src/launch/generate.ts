/** Text from a model folder. Everything that can be refused is refused before libtorch is loaded. */
import { RequestError, StoppedError } from '../errors.js';
import { findModel } from '../generate/find-model.js';
import { checkSampling, type Sampling } from '../generate/sampling.js';
import { TextStream } from '../generate/text-stream.js';
import type { Ending } from '../generate/tokens.js';
import { readModelConfig } from '../model/model-folder.js';
import { threadsFor } from '../run/threads.js';
import { prepareEngine } from './local.js';
import { prepareThisProcess } from './process.js';
import type { Session } from './session.js';

/** What is asked of {@link generateText}. */
export interface TextRequest {
  /** A Hugging Face folder, or that of a run's stage. */
  folder: string;
  prompt: string;
  /** A tokenizer instead of the folder's. */
  tokenizer?: string;
  /** At most so many tokens. */
  maxTokens: number;
  /** null: always the most likely token. */
  sampling: Sampling | null;
  seed: number;
  /** `cpu` or `cuda:N`. */
  device: string;
}

/** How it went. */
export interface GeneratedText {
  promptTokens: number;
  /** The end token included. */
  tokens: number;
  ending: Ending;
  /** Until the first token, reading the model left out, and from there on. */
  seconds: { prompt: number; rest: number };
}

/**
 * Continues a prompt and hands out the text as it comes, in whole characters, without the prompt and without special
 * tokens.
 *
 * @param write called with each piece of text
 * @throws RequestError, DataError for a folder, tokenizer or prompt that cannot be used; StoppedError when asked to
 * stop: what was written stands
 */
export async function generateText(
  request: TextRequest,
  session: Session,
  write: (text: string) => void,
): Promise<GeneratedText> {
  if (request.sampling !== null) checkSampling(request.sampling);
  const folder = findModel(request.folder);
  const { config } = readModelConfig(folder);
  const { PromptTokenizer } = await import('../generate/prompt-tokenizer.js');
  const tokenizer = PromptTokenizer.load(folder, request.tokenizer);
  const prompt = await tokenizer.encode(request.prompt);
  checkPrompt(prompt, tokenizer.file, config);

  await prepareEngine([request.device], session);
  prepareThisProcess(threadsFor(null, 1));
  const { openModel } = await import('../model/open.js');
  const { Decoder } = await import('../model/decoder.js');
  const { generateTokens } = await import('../generate/tokens.js');
  const store = openModel(folder, { device: request.device });
  try {
    const stream = new TextStream((ids) => tokenizer.decode(ids), prompt);
    const began = performance.now();
    let first = began;
    let tokens = 0;
    const { maxTokens, sampling, seed } = request;
    const generator = generateTokens(new Decoder(store), {
      prompt,
      maxTokens,
      eos: tokenizer.ends.eos,
      sampling,
      seed,
    });
    try {
      for (;;) {
        const { done, value } = generator.next();
        if (done) {
          write(await stream.end());
          const seconds = { prompt: (first - began) / 1000, rest: (performance.now() - first) / 1000 };
          return { promptTokens: prompt.length, tokens, ending: value, seconds };
        }
        if (tokens++ === 0) first = performance.now();
        write(await stream.push(value));
        // Signals arrive between turns of the event loop only.
        await new Promise(setImmediate);
        if (session.stop.requested) {
          throw new StoppedError(`Stopped (${session.stop.reason}) after ${tokens} tokens.`);
        }
      }
    } finally {
      generator.return('maxTokens');
    }
  } finally {
    store.dispose();
  }
}

function checkPrompt(
  prompt: readonly number[],
  file: string,
  { vocabSize, maxPositionEmbeddings }: { vocabSize: number; maxPositionEmbeddings: number },
): void {
  if (prompt.length === 0) {
    throw new RequestError('The prompt is empty, and the model names no token that begins texts.', {
      key: '--prompt',
      expected: 'text, or bos_token_id in config.json',
    });
  }
  const largest = prompt.reduce((found, id) => Math.max(found, id), 0);
  if (largest >= vocabSize) {
    throw new RequestError("The tokenizer gives ids outside the model's vocabulary.", {
      file,
      expected: `below ${vocabSize}`,
      found: String(largest),
      hint: 'the tokenizer must be that of the model',
    });
  }
  if (prompt.length >= maxPositionEmbeddings) {
    throw new RequestError('The prompt leaves the model no position for another token.', {
      key: '--prompt',
      expected: `fewer than ${maxPositionEmbeddings} tokens, max_position_embeddings of the model`,
      found: `${prompt.length} tokens`,
    });
  }
}

/**
 * A tokenizer as the harness uses it, which is not how training does: special tokens in a text are read as such, and
 * what the tokenizer adds to a text (a begin token) is added.
 */
import type { Tokenizer } from 'tokenizers';
import { DataError } from '../../errors.js';
import { sha256 } from '../../formats/hash.js';
import { readTextEnds, readTokenizerConfig } from '../../formats/tokenizer-config.js';
import { readTokenizer } from '../../formats/tokenizer-files.js';
import { parseTokenizerJson } from '../../formats/tokenizer-json.js';
import { promptLibrary } from '../../formats/tokenizer-library.js';
import { stripEnd } from '../python/text.js';
import type { ScoreRequest } from '../score/bundles.js';
import type { Question } from '../tasks/prompts.js';

/** Texts encoded in one call of the library. */
const PIECE = 512;

export class HarnessTokenizer {
  /** The token that a text is conditioned on where nothing stands before it: begin token, else end token. */
  readonly prefix: { id: number; token: string };
  /** SHA-256 of the tokenizer.json. */
  readonly sha256: string;
  readonly file: string;
  readonly #library: Tokenizer;
  /** Tokens put around a text instead of what the tokenizer itself adds; null: the latter. */
  readonly #around: { before: number[]; after: number[] } | null;

  private constructor(
    file: string,
    hash: string,
    library: Tokenizer,
    prefix: { id: number; token: string },
    around: { before: number[]; after: number[] } | null,
  ) {
    this.file = file;
    this.sha256 = hash;
    this.prefix = prefix;
    this.#library = library;
    this.#around = around;
  }

  /**
   * Loads the tokenizer of a model folder.
   *
   * @param folder where tokenizer and config files lie
   * @throws DataError where there is none, or it names no token that a text could begin with
   */
  static load(folder: string): HarnessTokenizer {
    const { file, bytes } = readTokenizer(folder);
    const json = parseTokenizerJson(file, bytes);
    const library = promptLibrary(file, json);
    const idOf = (token: string): number | null => library.tokenToId(token) ?? null;
    const config = readTokenizerConfig(folder);
    const ends = readTextEnds(folder, 'documents', idOf);
    const named = (entry: string | { content: string } | null | undefined): number | null =>
      entry == null ? null : idOf(typeof entry === 'string' ? entry : entry.content);
    // tokenizer_config.json has the last word, as in transformers; without it the ids of config.json stand in.
    const bos = config === null ? ends.bos : named(config.bos_token);
    const eos = config === null ? (ends.eos[0] ?? null) : (named(config.eos_token) ?? ends.eos[0] ?? null);
    const id = bos ?? eos;
    const token = id === null ? null : library.idToToken(id);
    if (id === null || token === null) {
      throw new DataError('The tokenizer has neither a begin nor an end token.', {
        file,
        expected: 'bos_token or eos_token in tokenizer_config.json, or their ids in config.json',
      });
    }
    const adds = config?.add_bos_token !== undefined || config?.add_eos_token !== undefined;
    const around = adds
      ? {
          before: config?.add_bos_token && bos !== null ? [bos] : [],
          after: config?.add_eos_token && eos !== null ? [eos] : [],
        }
      : null;
    return new HarnessTokenizer(file, sha256(bytes), library, { id, token }, around);
  }

  /**
   * The ids of texts, with what the tokenizer adds unless the text itself begins with the begin token.
   *
   * @param bare without what it adds
   */
  async encode(texts: readonly string[], bare = false): Promise<number[][]> {
    const found: number[][] = [];
    for (let first = 0; first < texts.length; first += PIECE) {
      const piece = texts.slice(first, first + PIECE);
      const plain = bare || this.#around !== null;
      const begins = piece.map((text) => plain || text.startsWith(this.prefix.token));
      const encodings: number[][] = [];
      for (const special of [true, false]) {
        const some = piece.filter((_, i) => begins[i] !== special);
        if (some.length === 0) continue;
        const encoded = await this.#library.encodeBatch(some, { addSpecialTokens: special });
        let next = 0;
        for (const [i, begun] of begins.entries()) {
          if (begun !== special) encodings[i] = encoded[next++]!.getIds();
        }
      }
      for (const [i, ids] of encodings.entries()) {
        const around = bare || piece[i]!.startsWith(this.prefix.token) ? null : this.#around;
        found.push(around === null ? ids : [...around.before, ...ids, ...around.after]);
      }
    }
    return found;
  }

  /**
   * Requests of questions: context and continuation encoded together and cut where the context's own tokens end,
   * after blanks at the context's end have gone over to the continuation.
   */
  async requests(questions: readonly Question[]): Promise<ScoreRequest[][]> {
    const texts = new Set<string>();
    const groups = questions.map(({ context, continuations }) => {
      const cut = stripEnd(context);
      texts.add(cut);
      return continuations.map((continuation) => {
        const whole = context + continuation;
        texts.add(whole);
        return { cut, whole };
      });
    });
    const list = [...texts].filter((text) => text !== '');
    const encoded = await this.encode(list);
    const ids = new Map(list.map((text, i) => [text, encoded[i]!]));
    const bare = questions.filter(({ context }) => context === '').flatMap((one) => one.continuations);
    const alone = new Map((await this.encode(bare, true)).map((found, i) => [bare[i]!, found]));
    return groups.map((group, i) =>
      group.map(({ cut, whole }) => {
        const request = this.#cut(ids.get(cut) ?? null, alone.get(whole) ?? ids.get(whole)!);
        if (request.continuation.length > 0) return request;
        // The harness ends here as well: nothing is left to score.
        throw new DataError('An answer has no token of its own: the tokenizer joins it with the question.', {
          file: this.file,
          key: `question ${questions[i]!.document}`,
          found: whole.slice(-60),
        });
      }),
    );
  }

  /** Context and continuation of a whole text that begins with the context; null where that is empty. */
  #cut(context: readonly number[] | null, whole: readonly number[]): ScoreRequest {
    if (context !== null) return { context, continuation: whole.slice(context.length) };
    return whole[0] === this.prefix.id
      ? { context: whole.slice(0, 1), continuation: whole.slice(1) }
      : { context: [this.prefix.id], continuation: whole };
  }

  /**
   * Windows over texts that are scored as a whole: the first begins with the prefix token, each following one
   * predicts as many tokens as fit after as few as one known token; every token is predicted once.
   *
   * @param maxLength tokens that the model takes
   * @returns the windows of each text; none for a text without tokens
   */
  async windows(texts: readonly string[], maxLength: number): Promise<ScoreRequest[][]> {
    const encoded = await this.encode(texts);
    return encoded.map((ids) => rollingWindows(ids, this.prefix.id, maxLength));
  }
}

/** The harness's windows with one token of context where they can be full: disjoint targets, in order. */
export function rollingWindows(ids: readonly number[], prefix: number, maxLength: number): ScoreRequest[] {
  const windows: ScoreRequest[] = [];
  for (let first = 0; first < ids.length; ) {
    const last = Math.min(ids.length, first + maxLength);
    // The last window is filled up with known tokens from before it.
    const begin = Math.max(0, last - maxLength - 1);
    const context = first === 0 ? [prefix] : ids.slice(begin, first);
    windows.push({ context, continuation: ids.slice(first, last) });
    first = last;
  }
  return windows;
}

/** Text from tokens as they come. */

/** What a tokenizer shows in place of bytes that are not, or not yet, a character. */
const REPLACEMENT = '\uFFFD';

/**
 * The text that each new token adds. A token may end in the middle of a character, and a tokenizer may write a token
 * in another way at the beginning of a text, so that tokens are never decoded alone: text is given out when what has
 * been decoded since the last complete place ends in a whole character.
 */
export class TextStream {
  readonly #decode: (ids: number[]) => Promise<string>;
  readonly #ids: number[];
  /** Where decoding begins, and up to where text was given out; both at the end of whole characters. */
  #start = 0;
  #read: number;

  /** @param prompt the tokens that the text continues, whose own text is not given out */
  constructor(decode: (ids: number[]) => Promise<string>, prompt: readonly number[]) {
    this.#decode = decode;
    this.#ids = [...prompt];
    this.#read = prompt.length;
  }

  /** The text that is complete with one more token; often empty. */
  async push(id: number): Promise<string> {
    this.#ids.push(id);
    return this.#next(false);
  }

  /** The rest, with U+FFFD for a character that was not completed. */
  async end(): Promise<string> {
    return this.#next(true);
  }

  async #next(last: boolean): Promise<string> {
    const before = await this.#decode(this.#ids.slice(this.#start, this.#read));
    const all = await this.#decode(this.#ids.slice(this.#start));
    if (!last && all.endsWith(REPLACEMENT)) return '';
    this.#start = this.#read;
    this.#read = this.#ids.length;
    return all.slice(before.length);
  }
}

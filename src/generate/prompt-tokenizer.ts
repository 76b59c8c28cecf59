/** Prompts to tokens and tokens to text, as transformers does it: here special tokens in a text are special. */
import { dirname } from 'node:path';
import type { Tokenizer } from 'tokenizers';
import { readTextEnds, readTokenizerConfig, type TextEnds } from '../formats/tokenizer-config.js';
import { readTokenizer } from '../formats/tokenizer-files.js';
import { malformed, parseTokenizerJson } from '../formats/tokenizer-json.js';
import { promptLibrary } from '../formats/tokenizer-library.js';

export class PromptTokenizer {
  private constructor(
    /** The file that was read, for messages. */
    readonly file: string,
    readonly ends: Pick<TextEnds, 'bos' | 'eos'>,
    /** Whether texts begin with `ends.bos`; null: what tokenizer.json adds is added. */
    readonly addBos: boolean | null,
    readonly library: Tokenizer,
    /** Ids of special tokens: whether the library leaves them out depends on how they are to be found in text. */
    readonly special: ReadonlySet<number>,
  ) {}

  /**
   * Loads the tokenizer of a model folder, or another one for it.
   *
   * @param folder the model's; its files say where texts begin and end, else those beside the tokenizer
   * @param path a tokenizer instead of the folder's
   * @throws DataError where there is none, or it or what stands beside it is malformed
   */
  static load(folder: string, path: string = folder): PromptTokenizer {
    const { file, bytes } = readTokenizer(path);
    const json = parseTokenizerJson(file, bytes);
    const library = promptLibrary(file, json);
    const [own, beside] = [folder, dirname(file)].map((place) =>
      readTextEnds(place, 'generation', (token) => library.tokenToId(token)),
    ) as [TextEnds, TextEnds];
    const ends = { bos: own.bos ?? beside.bos, eos: own.eos.length > 0 ? own.eos : beside.eos };
    const special = new Set(json.added_tokens.filter((token) => token.special).map(({ id }) => id));
    return new PromptTokenizer(
      file,
      ends,
      readTokenizerConfig(dirname(file))?.add_bos_token ?? null,
      library,
      special,
    );
  }

  /**
   * The tokens of a prompt; of an empty one the token that begins texts, if there is one.
   *
   * @throws DataError where the tokenizer cannot encode the text
   */
  async encode(text: string): Promise<number[]> {
    const { bos } = this.ends;
    const begin = bos === null ? [] : [bos];
    let ids: number[];
    try {
      const options = { addSpecialTokens: this.addBos === null };
      ids = (await this.library.encode(text, null, options)).getIds();
    } catch (cause) {
      throw malformed(this.file, cause);
    }
    if (this.addBos === true) return [...begin, ...ids];
    return ids.length === 0 ? begin : ids;
  }

  /** The text of tokens, special ones left out. */
  async decode(ids: number[]): Promise<string> {
    return this.library.decode(
      ids.filter((id) => !this.special.has(id)),
      true,
    );
  }
}

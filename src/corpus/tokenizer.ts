/**
 * A tokenizer through Hugging Face's own library, set up so that text is text: a string such as `<unk>` or
 * `<|endoftext|>` inside a document is not read as the special token of that name, nothing is truncated, padded
 * or added, and BPE dropout is off.
 */
import { randomUUID } from 'node:crypto';
import { dirname } from 'node:path';
import { Tokenizer } from 'tokenizers';
import { DataError, RequestError } from '../errors.js';
import { sha256 } from '../formats/hash.js';
import { readTextEnds } from '../formats/tokenizer-config.js';
import { readTokenizer } from '../formats/tokenizer-files.js';
import { LARGEST_ID, malformed, parseTokenizerJson, type TokenizerJson } from '../formats/tokenizer-json.js';

/** Names of end-of-document tokens, looked for in this order where the model's config names none. */
const END_TOKENS = ['<|endoftext|>', '</s>', '<eos>', '<|end_of_text|>', '<|eos|>', '[EOS]', '<|im_end|>'];

/** A tokenizer ready to turn texts into ids. */
export class TextTokenizer {
  /** The end token of documents. */
  readonly eos: { id: number; token: string };
  readonly largestId: number;
  /** SHA-256 of the tokenizer.json. */
  readonly sha256: string;
  /** The tokenizer.json. */
  readonly bytes: Buffer;
  /** The file that was read, for messages. */
  readonly file: string;
  readonly #library: Tokenizer;

  private constructor(
    file: string,
    bytes: Buffer,
    library: Tokenizer,
    largestId: number,
    eos: { id: number; token: string },
  ) {
    this.file = file;
    this.bytes = bytes;
    this.sha256 = sha256(bytes);
    this.#library = library;
    this.largestId = largestId;
    this.eos = eos;
  }

  /**
   * Loads a tokenizer.
   *
   * @param path a tokenizer.json, or what {@link readTokenizer} makes one from
   * @param eosTokenId `eos_token_id` of the model's config (its first one where there are several), or null: what
   * config.json, generation_config.json or tokenizer_config.json beside the tokenizer say, else the special token
   * with one of the usual names, or the only special token.
   * @throws DataError naming the file where it is missing or malformed or has no end token; RequestError where
   * the config's end token is not in it.
   */
  static async load(path: string, eosTokenId: number | null = null): Promise<TextTokenizer> {
    const { file, bytes } = readTokenizer(path);
    return TextTokenizer.parse(file, bytes, eosTokenId);
  }

  /** {@link load} for the bytes of a tokenizer.json that were read, or made, from `file`. */
  static async parse(file: string, bytes: Buffer, eosTokenId: number | null): Promise<TextTokenizer> {
    const json = parseTokenizerJson(file, bytes);
    const library = await build(file, json);
    const tokens = Object.entries(library.getVocab(false));
    const added = json.added_tokens.map((token): [string, number] => [token.content, token.id]);
    const byId = new Map([...tokens, ...added].map(([token, number]) => [number, token]));
    let largestId = 0;
    for (const number of byId.keys()) largestId = Math.max(largestId, number);
    if (largestId > LARGEST_ID) throw malformed(file, new Error(`the id ${largestId} is too large`));
    return new TextTokenizer(file, bytes, library, largestId, findEnd(file, json, byId, eosTokenId));
  }

  /**
   * The ids of each text, without an end token.
   *
   * @throws DataError where the tokenizer cannot encode a text.
   */
  async encode(texts: readonly string[]): Promise<Int32Array[]> {
    if (texts.length === 0) return [];
    try {
      const encodings = await this.#library.encodeBatch([...texts], { addSpecialTokens: false });
      return encodings.map((encoding) => Int32Array.from(encoding.getIds()));
    } catch (cause) {
      throw malformed(this.file, cause);
    }
  }

  /** The text of ids, end tokens left out. */
  async decode(ids: ArrayLike<number>): Promise<string> {
    const kept = Array.from(ids).filter((number) => number !== this.eos.id);
    return this.#library.decode(kept, true);
  }
}

/** The library's tokenizer for `json` with its special tokens unreachable from text. */
async function build(file: string, json: TokenizerJson): Promise<Tokenizer> {
  const vocabulary = json.model.vocab;
  const inModel = (token: string): boolean =>
    typeof vocabulary === 'object' && vocabulary !== null && !Array.isArray(vocabulary)
      ? Object.hasOwn(vocabulary, token)
      : Array.isArray(vocabulary) && vocabulary.some((entry) => Array.isArray(entry) && entry[0] === token);
  // The library looks for added tokens before anything else and numbers those that the model lacks by their
  // order. So a special token of the model's is taken off the list, and another keeps its place, and with it
  // the ids of those behind it, under a name that no text has.
  const added = json.added_tokens.flatMap((token) => {
    if (!token.special) return [token];
    return inModel(token.content) ? [] : [{ ...token, content: `\uFDD0${randomUUID()}`, normalized: false }];
  });
  const model = { ...json.model, ...('dropout' in json.model && { dropout: null }) };
  const text = JSON.stringify({ ...json, model, added_tokens: added, truncation: null, padding: null });
  try {
    const library = Tokenizer.fromString(text);
    for (const token of added) {
      const found = library.tokenToId(token.content);
      if (found !== token.id) throw new Error(`added token ${token.id} would become ${found}`);
    }
    await refuseReachable(library, json);
    return library;
  } catch (cause) {
    throw malformed(file, cause);
  }
}

/**
 * A model may still find a special token in text as a whole word of its vocabulary (Unigram, WordLevel). The
 * token for the unknown is no harm there; any other is refused.
 */
async function refuseReachable(library: Tokenizer, json: TokenizerJson): Promise<void> {
  for (const token of json.added_tokens) {
    if (!token.special || token.content === json.model.unk_token) continue;
    const ids = (await library.encode(token.content, null, { addSpecialTokens: false })).getIds();
    if (ids.includes(token.id) && token.id !== json.model.unk_id) {
      throw new Error(`text such as ${token.content} would be read as the special token ${token.id}`);
    }
  }
}

function findEnd(
  file: string,
  json: TokenizerJson,
  byId: Map<number, string>,
  configured: number | null,
): { id: number; token: string } {
  if (configured !== null) {
    const token = byId.get(configured);
    if (token !== undefined) return { id: configured, token };
    throw new RequestError("The end token of the model's config is not in the tokenizer.", {
      file,
      key: 'model.config.eos_token_id',
      found: String(configured),
    });
  }
  const ids = new Map([...byId].map(([id, token]) => [token, id]));
  const beside = readTextEnds(dirname(file), 'documents', (token) => ids.get(token) ?? null);
  const wanted = beside.eos[0];
  if (wanted !== undefined) {
    const token = byId.get(wanted);
    if (token !== undefined) return { id: wanted, token };
    throw new DataError('The end token is not in the tokenizer.', {
      file: beside.file!,
      key: 'eos_token_id',
      expected: `an id of ${file}`,
      found: String(wanted),
    });
  }
  const special = json.added_tokens.filter((token) => token.special);
  const byName = END_TOKENS.map((name) => special.find((token) => token.content === name)).find(Boolean);
  const end = byName ?? (special.length === 1 ? special[0] : undefined);
  if (end !== undefined) return { id: end.id, token: end.content };
  throw new DataError('The tokenizer has no end token that can be told from its name.', {
    file,
    expected: `a special token such as ${END_TOKENS.slice(0, 3).join(', ')}`,
    found: special.map((token) => token.content).join(', ') || 'no special token',
    hint: 'name it in model.config.eos_token_id',
  });
}

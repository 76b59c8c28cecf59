/** Texts to token ids in the form in which they are stored and sent between threads. */
import type { TextTokenizer } from './tokenizer.js';

/** The documents of some texts. */
export interface EncodedTexts {
  /** Ids of all documents, one after the other, each with its end token. */
  ids: Int32Array;
  /** Of each text how many of them are its own; 0 for a text without a token, which has no end token either. */
  lengths: Int32Array;
}

/** Encodes texts. @throws DataError where the tokenizer cannot. */
export async function encodeTexts(tokenizer: TextTokenizer, texts: readonly string[]): Promise<EncodedTexts> {
  const documents = await tokenizer.encode(texts);
  const lengths = Int32Array.from(documents, ({ length }) => (length === 0 ? 0 : length + 1));
  const ids = new Int32Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  documents.forEach((document, i) => {
    ids.set(document, at);
    at += lengths[i]!;
    if (document.length > 0) ids[at - 1] = tokenizer.eos.id;
  });
  return { ids, lengths };
}

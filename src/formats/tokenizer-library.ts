/** The library's tokenizer for prompts and evaluation, where special tokens in a text are read as such. */
import { Tokenizer } from 'tokenizers';
import { malformed, type TokenizerJson } from './tokenizer-json.js';

/**
 * Makes the tokenizer of a tokenizer.json that encodes whole texts, the same every time: nothing is cut, filled up or
 * dropped at random.
 *
 * @param file where `json` came from, for messages
 * @throws DataError where the library refuses it
 */
export function promptLibrary(file: string, json: TokenizerJson): Tokenizer {
  const model = { ...json.model, ...('dropout' in json.model && { dropout: null }) };
  try {
    return Tokenizer.fromString(JSON.stringify({ ...json, model, truncation: null, padding: null }));
  } catch (cause) {
    throw malformed(file, cause);
  }
}

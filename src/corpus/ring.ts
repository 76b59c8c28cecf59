/** Documents of a token store as one ring of tokens, in a given order. */
import { lastAtMost, type TokenStore } from '../formats/token-store.js';

/** Reads any stretch of the concatenated documents; after the last token comes the first. */
export class TokenRing {
  /** Tokens of the ring. */
  readonly length: number;
  readonly #store: TokenStore;
  readonly #documents: Int32Array;
  /** Position in the ring of each document, and the end. */
  readonly #starts: Float64Array;

  constructor(store: TokenStore, documents: Int32Array) {
    this.#store = store;
    this.#documents = documents;
    this.#starts = new Float64Array(documents.length + 1);
    documents.forEach((document, i) => {
      this.#starts[i + 1] = this.#starts[i]! + store.length(document);
    });
    this.length = this.#starts[documents.length]!;
  }

  /** `count` tokens from position `start` of 0 .. length - 1, going round as often as needed. */
  read(start: number, count: number): Int32Array {
    const out = new Int32Array(count);
    if (this.length === 0) throw new RangeError('an empty ring has no tokens');
    let at = start % this.length;
    let index = lastAtMost(this.#starts, at);
    for (let done = 0; done < count; ) {
      const skip = at - this.#starts[index]!;
      const document = this.#documents[index]!;
      const take = Math.min(count - done, this.#store.length(document) - skip);
      out.set(this.#store.read(this.#store.start(document) + skip, take), done);
      done += take;
      index = (index + 1) % this.#documents.length;
      at = this.#starts[index]!;
    }
    return out;
  }
}

/** Plain text: a file is a document, or each of its lines that is not blank. */
import { DataError } from '../errors.js';
import type { TextDocument } from './document.js';
import { type Line, MAX_DOCUMENT_BYTES } from './lines.js';

/** Every line that is not blank, as it stands. */
export async function* readTextRows(
  file: string,
  lines: AsyncIterable<Line[]>,
): AsyncGenerator<TextDocument> {
  for await (const some of lines) {
    for (const { text, number } of some) if (text.trim() !== '') yield { text, file, line: number };
  }
}

/** The whole file. */
export async function* readText(file: string, lines: AsyncIterable<Line[]>): AsyncGenerator<TextDocument> {
  const document = new Gathered(file);
  for await (const some of lines) for (const line of some) document.add(line);
  yield* document.take();
}

/** Lines gathered into one document; blank lines before the first and after the last are dropped. */
export class Gathered {
  readonly #file: string;
  #lines: string[] = [];
  #size = 0;
  #first = 0;

  constructor(file: string) {
    this.#file = file;
  }

  /** @throws DataError where the document grows too long to be held in memory. */
  add({ text, number }: Line): void {
    if (this.#lines.length === 0) {
      if (text.trim() === '') return;
      this.#first = number;
    }
    this.#lines.push(text);
    this.#size += text.length + 1;
    if (this.#size > MAX_DOCUMENT_BYTES) {
      throw new DataError('A document is too long.', {
        file: this.#file,
        key: `line ${this.#first} and following`,
        expected: `at most ${MAX_DOCUMENT_BYTES} bytes`,
        hint: 'unit: row takes every line as a document',
      });
    }
  }

  /** The document gathered so far, if any; the next one begins. */
  *take(): Generator<TextDocument> {
    while (this.#lines.at(-1)?.trim() === '') this.#lines.pop();
    if (this.#lines.length > 0) yield { text: this.#lines.join('\n'), file: this.#file, line: this.#first };
    this.#lines = [];
    this.#size = 0;
  }
}

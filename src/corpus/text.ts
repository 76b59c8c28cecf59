/** Plain text: a file is a document, or each of its lines that is not blank. */
import { DataError } from '../errors.js';
import type { Broken } from './document.js';
import { type Line, MAX_DOCUMENT_BYTES } from './lines.js';

/** A text and the line where it begins. */
interface Text {
  text: string;
  line: number;
}

/** Every line that is not blank, as it stands. */
export async function* readTextRows(lines: AsyncIterable<Line[]>, broken: Broken): AsyncGenerator<Text> {
  for await (const some of lines) {
    for (const { text, number, fault, lines: count } of some) {
      if (fault !== undefined) broken(fault, number, count);
      else if (text.trim() !== '') yield { text, line: number };
    }
  }
}

/** The whole file. */
export async function* readText(
  file: string,
  lines: AsyncIterable<Line[]>,
  broken: Broken,
): AsyncGenerator<Text> {
  const document = new Gathered(file, broken);
  for await (const some of lines) for (const line of some) document.add(line);
  yield* document.take();
}

/**
 * Lines gathered into one document; blank lines before the first and after the last are dropped. A document with a
 * broken line is broken as a whole.
 */
export class Gathered {
  readonly #file: string;
  readonly #broken: Broken;
  #lines: string[] = [];
  #size = 0;
  #first = 0;
  #isBroken = false;

  constructor(file: string, broken: Broken) {
    this.#file = file;
    this.#broken = broken;
  }

  /** Adds a line; what is broken, or grows too long to be held in memory, is told once. */
  add({ text, number, fault }: Line): void {
    if (this.#isBroken) return;
    if (this.#lines.length === 0) {
      if (fault === undefined && text.trim() === '') return;
      this.#first = number;
    }
    this.#lines.push(text);
    this.#size += text.length + 1;
    const wrong = fault ?? (this.#size > MAX_DOCUMENT_BYTES ? this.#tooLong() : undefined);
    if (wrong === undefined) return;
    this.#broken(wrong, this.#first);
    this.#isBroken = true;
    this.#lines = [];
  }

  /** The document gathered so far, if any and whole; the next one begins. */
  *take(): Generator<Text> {
    while (this.#lines.at(-1)?.trim() === '') this.#lines.pop();
    if (this.#lines.length > 0) yield { text: this.#lines.join('\n'), line: this.#first };
    this.#lines = [];
    this.#size = 0;
    this.#isBroken = false;
  }

  #tooLong(): DataError {
    return new DataError('A document is too long.', {
      file: this.#file,
      key: `line ${this.#first} and following`,
      expected: `at most ${MAX_DOCUMENT_BYTES} bytes`,
      hint: 'unit: row takes every line as a document',
    });
  }
}

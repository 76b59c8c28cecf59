/** What every reader yields. */

/** A text and the place where it begins. */
export interface TextDocument {
  /** Line ends are "\n", whatever they were in the file. Not blank. */
  text: string;
  file: string;
  /** Line of the file, from 1. */
  line: number;
}

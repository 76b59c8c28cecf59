/** What every reader yields, and what becomes of documents that are broken. */
import type { DataError } from '../errors.js';

/** Where a document begins: enough to go on behind it. */
export interface Place {
  /** Index of the file among those of the source. */
  index: number;
  /** Line of the file, or row of a Parquet file, from 1. */
  line: number;
}

/** A text and the place where it begins. */
export interface TextDocument extends Place {
  /** Line ends are "\n", whatever they were in the file. Not blank. */
  text: string;
  file: string;
  /** What the field of labels says, where one is asked for; null where it says nothing. */
  label?: string | null;
}

/**
 * Told of every broken document: the fault, the line where the document begins, and how many documents it was
 * where that is known to be more than one. Throws to stop; reading goes on behind the document when it returns.
 */
export type Broken = (fault: DataError, line: number, documents?: number) => void;

/** Documents that were left out because they were broken: how many, and the first of them. */
export interface SkippedDocuments {
  /** What cannot be counted, such as the rest of a damaged file, counts as one. */
  documents: number;
  first: { file: string; place: string; fault: string }[];
}

const SHOWN = 10;

/** `skipped` with one more fault; the places of the first ten are kept. */
export function countSkipped(
  skipped: SkippedDocuments,
  fault: DataError,
  documents: number,
): SkippedDocuments {
  const { file = '', key = '', message, found } = fault;
  const entry = { file, place: key, fault: found === undefined ? message : `${message} ${found}` };
  return {
    documents: skipped.documents + documents,
    first: skipped.first.length < SHOWN ? [...skipped.first, entry] : skipped.first,
  };
}

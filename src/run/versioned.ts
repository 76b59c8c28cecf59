/** Files of a run carry `format: 1`. A newer one than this program knows is refused before anything is read of it. */
import { existsSync } from 'node:fs';
import type { z } from 'zod';
import { DataError } from '../errors.js';
import { readJson } from '../formats/atomic.js';

/** The format that this version writes, and the newest it reads. */
export const FORMAT = 1;

const formatOf = (value: unknown) =>
  typeof value === 'object' && value !== null ? (value as { format?: unknown }).format : undefined;

/**
 * Refuses a value whose `format` is newer than {@link FORMAT}.
 * @throws DataError naming the file.
 */
export function refuseNewer(file: string, value: unknown): void {
  const format = formatOf(value);
  if (Number.isInteger(format) && (format as number) > FORMAT) {
    throw new DataError(`${file} was written by a newer version of moe-disco.`, {
      file,
      key: 'format',
      expected: `at most ${FORMAT}`,
      found: String(format),
      hint: 'use the version that wrote it, or a newer one',
    });
  }
}

/**
 * Refuses a value whose `format` is missing or newer than {@link FORMAT}.
 * @throws DataError naming the file.
 */
export function checkFormat(file: string, value: unknown): void {
  refuseNewer(file, value);
  const format = formatOf(value);
  if (format !== FORMAT) {
    throw new DataError(`${file} does not say its format.`, {
      file,
      key: 'format',
      expected: String(FORMAT),
      found: JSON.stringify(format) ?? 'nothing',
    });
  }
}

/**
 * Reads a JSON file of a run: its format first, then its shape.
 * @returns null when the file is not there.
 * @throws DataError for a newer format and for content that does not fit `schema`.
 */
export function readVersioned<T>(path: string, schema: z.ZodType<T>): T | null {
  if (!existsSync(path)) return null;
  checkFormat(path, readJson(path));
  return readJson(path, schema);
}

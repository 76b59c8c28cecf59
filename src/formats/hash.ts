/**
 * Content hashes: of bytes, of files, and of JSON values in one canonical form. All are SHA-256 in lower-case
 * hexadecimal.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { systemFailure } from './system-failure.js';

/** A file as manifests name it: its name, size in bytes and SHA-256. */
export interface FileRecord {
  name: string;
  size: number;
  sha256: string;
}

/** Any value that JSON can hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** SHA-256 of bytes, or of a string's UTF-8. */
export function sha256(data: Uint8Array | string): string {
  return createHash('sha256').update(data).digest('hex');
}

/**
 * Size and SHA-256 of a file, read in pieces so that memory stays small and the event loop goes on.
 * @throws DataError when the file is missing, EnvironmentError when reading fails.
 */
export async function hashFile(path: string): Promise<{ size: number; sha256: string }> {
  const hash = createHash('sha256');
  let size = 0;
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 22 })) {
      hash.update(chunk as Uint8Array);
      size += (chunk as Uint8Array).length;
    }
  } catch (error) {
    throw systemFailure(error, path, 'read');
  }
  return { size, sha256: hash.digest('hex') };
}

/**
 * JSON with sorted keys and no spaces: equal values give equal text. Keys whose value is undefined are left
 * out, as JSON.stringify does.
 * @throws TypeError for what JSON cannot hold (non-finite numbers, functions, bigint): a key must not hide it.
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError(`${value} has no JSON form`);
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${Array.from(value, canonicalJson).join(',')}]`;
  if (typeof value === 'object') {
    const object = value as Record<string, unknown>;
    const keys = Object.keys(object).filter((key) => object[key] !== undefined);
    return `{${keys.sort().map((key) => `${JSON.stringify(key)}:${canonicalJson(object[key])}`)}}`;
  }
  throw new TypeError(`a ${typeof value} has no JSON form`);
}

/** SHA-256 of a value's canonical JSON. */
export function hashJson(value: unknown): string {
  return sha256(canonicalJson(value));
}

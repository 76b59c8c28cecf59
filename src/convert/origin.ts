/** What a submodel's folder says of the model that it was split from: split/origin.json, and its router beside it. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { FORMAT, readVersioned } from '../run/versioned.js';
import type { Parent } from './parents.js';

/** In a folder of their own: some loaders take every safetensors file beside config.json for weights. */
export const ORIGIN_FILE = join('split', 'origin.json');
export const ROUTER_FILE = join('split', 'router.safetensors');

const originSchema = z.looseObject({
  format: z.literal(FORMAT),
  /** Which expert of how many. */
  expert: z.int().nonnegative(),
  experts: z.int().positive(),
  /** config.json of the whole model. */
  config: z.record(z.string(), z.unknown()),
  /** The whole model. */
  parent: z.object({
    name: z.string(),
    files: z.array(z.object({ name: z.string(), size: z.int().nonnegative(), sha256: z.string() })),
  }),
});

/** The content of split/origin.json. */
export type Origin = z.output<typeof originSchema>;

/** The content to be written. */
export function originOf(origin: {
  expert: number;
  experts: number;
  config: Record<string, unknown>;
  parent: Parent;
}): Origin {
  return { format: FORMAT, ...origin };
}

/** What a folder says of its origin; null where it says nothing. Throws DataError where it is malformed. */
export function readOrigin(folder: string): Origin | null {
  return readVersioned(join(folder, ORIGIN_FILE), originSchema);
}

/** Path of the whole model's router that a submodel carries, or null. */
export function routerFileOf(folder: string): string | null {
  const file = join(folder, ROUTER_FILE);
  return existsSync(file) ? file : null;
}

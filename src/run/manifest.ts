/**
 * The manifest of a stage: from what it is made, and how every attempt at it was executed. Nothing here is part
 * of the result's key.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { writeJson } from '../formats/atomic.js';
import { differences } from './differences.js';
import { FORMAT, readVersioned } from './versioned.js';

const attemptSchema = z.looseObject({
  attempt: z.int().positive(),
  command: z.string(),
  started: z.string(),
  /** Missing when the process was killed. */
  ended: z.string().optional(),
  outcome: z.enum(['done', 'stopped', 'failed']).optional(),
  error: z.string().optional(),
  hostname: z.string(),
  pid: z.int(),
  /** Versions of this package, Node and what else the caller names (torch). */
  versions: z.record(z.string(), z.string()),
  /** Git revision of this program, where it runs from a clone. */
  revision: z.string().nullable(),
  /** Device, threads, micro-batch and whatever else may change the last bits of the result. */
  execution: z.record(z.string(), z.json()),
});

const manifestSchema = z.looseObject({
  format: z.literal(FORMAT),
  stage: z.string(),
  key: z.string(),
  reads: z.json(),
  inputs: z.record(z.string(), z.string()),
  seeds: z.record(z.string(), z.number()),
  /** False once an attempt went on with another execution, version or machine type than the one before. */
  repeatable: z.boolean(),
  attempts: z.array(attemptSchema),
});

export type AttemptRecord = z.output<typeof attemptSchema>;
export type Manifest = z.output<typeof manifestSchema>;

/** A stage folder's manifest, or null. Throws DataError for a newer format or damaged content. */
export function readManifest(folder: string): Manifest | null {
  return readVersioned(join(folder, 'manifest.json'), manifestSchema);
}

/** Replaces a stage folder's manifest. */
export function writeManifest(folder: string, manifest: Manifest): void {
  writeJson(join(folder, 'manifest.json'), manifest);
}

/** Folder of this package: the nearest one above this file that has a package.json. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

let program: { versions: Record<string, string>; revision: string | null } | undefined;

/** Version of this package and of Node, and the git revision when the package is a clone. */
export function programVersions(): { versions: Record<string, string>; revision: string | null } {
  if (program !== undefined) return program;
  const root = packageRoot();
  const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    name: string;
    version: string;
  };
  let revision: string | null = null;
  // Asked only of a clone of ours: inside another project's node_modules git would answer for that project.
  if (existsSync(join(root, '.git'))) {
    try {
      revision = execFileSync('git', ['-C', root, 'rev-parse', 'HEAD'], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
        timeout: 5_000,
      }).trim();
    } catch {
      revision = null;
    }
  }
  program = { versions: { [own.name]: own.version, node: process.versions.node }, revision };
  return program;
}

/** What of the execution changed between two attempts, by key path, as `threads: 2, before 4`. */
export function executionChanges(before: AttemptRecord, now: AttemptRecord): string[] {
  const place = ({ execution, versions, revision }: AttemptRecord) => ({ ...execution, versions, revision });
  return differences(place(before), place(now)).map(
    ({ key, before: old, after }) => `${key}: ${after}, before ${old}`,
  );
}

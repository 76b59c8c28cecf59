/** A disk that is full: a tiny tmpfs, mounted here. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTiny } from './harness.js';
import { accepted, copyOf, halfWritten, refused } from './refusals.js';

const base = mkdtempSync(join(tmpdir(), 'disco-full-disk-'));
const disk = join(base, 'disk');
const whole = join(base, 'whole');

/** Mounts a disk of 24 MB; why it cannot be done, or null. */
function mount(): string | null {
  mkdirSync(disk);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'disco-test', disk], { stdio: 'pipe' });
    return null;
  } catch (error) {
    return (error as Error).message.trim().split('\n').at(-1) ?? '';
  }
}

const refusedMount = mount();
const required = Boolean(process.env.CI) || Boolean(process.env.DISCO_REQUIRE_TMPFS);
if (refusedMount !== null) console.log(`Full disk: no tmpfs can be mounted here (${refusedMount}).`);

/** Fills the disk but for `left` bytes; gives a function that empties it again. */
function fill(left: number): () => void {
  const { bavail, bsize } = statfsSync(disk);
  const filler = join(disk, 'filler');
  writeFileSync(filler, Buffer.alloc(bavail * bsize - left));
  return () => rmSync(filler);
}

const weights = (run: string, stage: string) => readFileSync(join(run, stage, 'model.safetensors'));

beforeAll(async () => {
  if (refusedMount !== null) return;
  const { status, stderr } = await startTiny(whole).outcome;
  expect(status, stderr).toBe(0);
}, 300_000);
afterAll(() => {
  if (refusedMount === null) execFileSync('umount', [disk]);
  rmSync(base, { recursive: true, force: true });
});

it.runIf(required)('a disk can be mounted where the tests must not skip it', () => {
  expect(refusedMount).toBeNull();
});

it.skipIf(refusedMount !== null)('a run that would not fit is refused before it begins', async () => {
  const empty = fill(1_000_000);
  const run = join(disk, 'run');
  await refused(['run', 'tiny', '--into', run], 74, [
    'too little free disk',
    /expected: about [\d.]+ [GM]B/,
    '--into',
  ]);
  expect(existsSync(run)).toBe(false);
  empty();
});

it.skipIf(refusedMount !== null)(
  'a disk that fills up ends a stage with 74, nothing half-written; with space again it goes on to the same bits',
  async () => {
    const stages = ['corpus', 'partition', 'init', 'submodels/0', 'submodels/1', 'merged'];
    const run = copyOf(whole, join(disk, 'copy'), stages.slice(0, -1));
    const full = (stage: string) => [
      /the disk is full/,
      join(run, stage),
      'ENOSPC',
      'run the same command again',
    ];
    // Room for the lock and the manifest, not for the weights.
    let empty = fill(300_000);
    await refused(['merge', run], 74, full('merged'));
    expect(halfWritten(join(run, 'merged'))).toEqual([]);
    empty();
    await accepted(['merge', run]);
    expect(weights(run, 'merged').equals(weights(whole, 'merged'))).toBe(true);

    empty = fill(300_000);
    await refused(['finetune', run], 74, full('finetuned'));
    expect(halfWritten(join(run, 'finetuned'))).toEqual([]);
    empty();
    await accepted(['finetune', run]);
    expect(weights(run, 'finetuned').equals(weights(whole, 'finetuned'))).toBe(true);
    rmSync(run, { recursive: true });
  },
  120_000,
);

it.skipIf(refusedMount !== null)('not even room for a lock', async () => {
  const run = copyOf(whole, join(disk, 'tight'), []);
  const empty = fill(0);
  await refused(['corpus', run], 74, ['the disk is full']);
  expect(halfWritten(run)).toEqual([]);
  empty();
  await accepted(['corpus', run]);
});

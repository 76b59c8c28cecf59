/**
 * A process that takes locks, for lock.test.ts.
 *   hold FOLDER            takes the lock, says so, and lives until it is killed
 *   contend ROOT TRIALS ROUNDS
 *     waits for ROOT/go; tries once for each folder ROOT/0, ROOT/1, ... at a moment common to all processes and keeps
 *     what it gets; then takes and releases ROOT/section so many times, where nobody else may be in between
 */
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { StoppedError } from '../../src/errors.js';
import { FolderLock } from '../../src/run/lock.js';

const [mode, folder = '', trials = '0', rounds = '0'] = process.argv.slice(2);

function tryLock(path: string): FolderLock | null {
  try {
    return FolderLock.acquire(path);
  } catch (error) {
    if (error instanceof StoppedError) return null;
    throw error;
  }
}

if (mode === 'hold') {
  const lock = FolderLock.acquire(folder);
  console.log(`held ${lock.attempt}`);
  await setTimeout(600_000);
} else {
  console.log('ready');
  while (!existsSync(join(folder, 'go'))) await setTimeout(1);
  const start = Date.now() + 50;
  const won: number[] = [];
  for (let trial = 0; trial < Number(trials); trial += 1) {
    // All processes arrive at a trial within a fraction of a millisecond of each other.
    const moment = start - (start % 50) + 50 + trial * 8;
    if (moment - Date.now() > 2) await setTimeout(moment - Date.now() - 2);
    while (Date.now() < moment);
    if (tryLock(join(folder, String(trial))) !== null) won.push(trial);
  }
  const section = join(folder, 'section');
  const inside = join(folder, 'inside');
  let entered = 0;
  let overlaps = 0;
  for (let round = 0; round < Number(rounds); round += 1) {
    const lock = tryLock(section);
    if (lock === null) {
      await setTimeout(Math.random() * 2);
      continue;
    }
    try {
      mkdirSync(inside);
      await setTimeout(0);
      lock.assertOwned();
      rmdirSync(inside);
      entered += 1;
    } catch {
      overlaps += 1;
    }
    lock.release();
  }
  console.log(JSON.stringify({ won, entered, overlaps }));
  await setTimeout(600_000);
}

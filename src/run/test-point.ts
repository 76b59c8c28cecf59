/**
 * Named moments at which a test can hold a process still and kill it: `DISCO_TEST_PAUSE=before-done` pauses at
 * every point of that name, `DISCO_TEST_PAUSE=before-done:merged` only at that stage's. With
 * `DISCO_TEST_PAUSE_MARK=FILE` the file is written when the point is reached. Without the variable nothing
 * happens.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';

/** Stops here for ten minutes when the environment asks for it; `name` is `point` or `point:stage`. */
export async function testPoint(name: string): Promise<void> {
  const wanted = process.env.DISCO_TEST_PAUSE;
  if (wanted === undefined || (wanted !== name && wanted !== name.split(':')[0])) return;
  const mark = process.env.DISCO_TEST_PAUSE_MARK;
  if (mark !== undefined) {
    // Whole or not at all: who waits for the file reads it at once.
    writeFileSync(`${mark}.tmp`, `${process.pid} ${name}\n`);
    renameSync(`${mark}.tmp`, mark);
  }
  await setTimeout(600_000);
}

/**
 * Made run-format-1/ with moe-disco 0.1.0: `npx tsx tests/golden/formats/make-run-format-1.ts`. A run and one forked
 * from it, in format 1. Never made again once format 2 exists: that is what it is kept for.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../../../src/formats/atomic.js';
import { fork, RunFolder } from '../../../src/run/folder.js';
import { runStage } from '../../../src/run/stage.js';

const root = join(import.meta.dirname, 'run-format-1');
rmSync(root, { recursive: true, force: true });
const parent = RunFolder.create(join(root, 'parent'), 'format: 1\nname: parent\nseed: 3\n');
const corpus = { stage: 'corpus', reads: { unit: 'document' }, inputs: { text: 'abc' }, command: 'disco corpus parent' };
const more = { execution: { device: 'cpu', threads: 2 }, versions: { torch: '2.9.0' }, seeds: { seed: 3 } };
await runStage({ run: parent, ...corpus, ...more }, async ({ ledger, path }) => {
  ledger.append({ seconds: 1.5, tokens: 100 });
  writeFileAtomic(path('tokens.bin'), 'token');
  ledger.append({ seconds: 2.5, tokens: 300 });
  return { outputs: ['tokens.bin'], hashes: { tokens: 'def' }, summary: { documents: 7 } };
});
const child = fork(parent, join(root, 'child'), 'format: 1\nname: child\nseed: 4\n');
await runStage({ run: child, ...corpus }, () => Promise.reject(new Error('the stage was run again')));

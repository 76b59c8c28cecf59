/** A stage in a process of its own, for stage.test.ts: writes a.bin and finishes. Argument: the run folder. */
import { writeFileAtomic } from '../../src/formats/atomic.js';
import { RunFolder } from '../../src/run/folder.js';
import { runStage } from '../../src/run/stage.js';

const run = RunFolder.open(process.argv[2] ?? '');
await runStage(
  { run, stage: 'corpus', reads: { seed: 0 }, inputs: {}, command: 'test' },
  async ({ path, ledger, attempt }) => {
    writeFileAtomic(path('a.bin'), `attempt ${attempt}`);
    ledger.append({ tokens: 10 });
    return { outputs: ['a.bin'], hashes: { a: 'x' } };
  },
);

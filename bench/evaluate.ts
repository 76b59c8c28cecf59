/**
 * `npm run bench:evaluate`: ARC-Easy with 5 examples and 200 questions on this program and on lm-evaluation-harness,
 * one after the other, with the same model, files and number of threads. Reading the questions, tokens and scores are
 * within the time; starting the programs and importing libraries is not. Loading the model is within this program's
 * time and not within the harness's. The harness runs with several batch sizes and its best counts.
 *
 *   npm run bench:evaluate -- FOLDER --python PATH [--limit N] [--rounds N] [--batches 1,16,64]
 *
 * FOLDER is a Hugging Face folder, as `export` writes it; PATH an interpreter with lm_eval.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readTasks } from '../src/evaluate/harness/ask.js';
import { evaluateTasks } from '../src/launch/evaluate.js';
import { withSession } from '../src/launch/session.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SCRIPT = join(ROOT, 'scripts', 'parity-evaluate.py');
const TASK = 'arc_easy:5';
const THREADS = '2';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: 'string' },
    limit: { type: 'string', default: '200' },
    rounds: { type: 'string', default: '3' },
    batches: { type: 'string', default: '1,16,64' },
  },
});
const [folder] = positionals;
const { python } = values;
if (folder === undefined || python === undefined) throw new Error('FOLDER and --python PATH are needed');
process.env.OMP_NUM_THREADS = THREADS;
const temporary = mkdtempSync(join(tmpdir(), 'bench-evaluate-'));

async function ours(data: string, into: string): Promise<number> {
  const selection = readTasks([TASK], 0);
  const request = { target: resolve(folder!), selection, stages: [], seed: 1234, data, into };
  const began = performance.now();
  await withSession((session) => evaluateTasks({ ...request, limit: Number(values.limit) }, session));
  return (performance.now() - began) / 1000;
}

function harness(data: string, batch: string): number {
  const out = join(temporary, 'harness.json');
  const args = [SCRIPT, 'harness', folder!, data, TASK, values.limit, out, batch];
  execFileSync(python!, args, { stdio: ['ignore', 'ignore', 'ignore'] });
  const { seconds } = JSON.parse(readFileSync(out, 'utf8')) as { seconds: Record<string, number> };
  return seconds[TASK]!;
}

try {
  const data = join(temporary, 'data');
  const sets = [join(ROOT, 'data', 'eval'), join(ROOT, 'data', 'wikitext-2', 'test.txt.gz')];
  execFileSync(python, [SCRIPT, 'data', ...sets, data]);
  const batches = values.batches.split(',');
  const own: number[] = [];
  const theirs = new Map<string, number[]>(batches.map((batch) => [batch, []]));
  // The first round warms caches and is not counted; rounds alternate, so that both meet the same neighbours.
  for (let round = 0; round <= Number(values.rounds); round++) {
    const here = await ours(data, join(temporary, `ours-${round}`));
    if (round > 0) own.push(here);
    for (const batch of batches) {
      const there = harness(data, batch);
      if (round > 0) theirs.get(batch)!.push(there);
    }
  }
  const best = (times: readonly number[]) => Math.min(...times);
  console.log(
    `ARC-Easy, 5 examples, ${values.limit} questions, ${THREADS} threads, best of ${values.rounds}`,
  );
  console.log(`  moe-disco              ${best(own).toFixed(2)} s`);
  for (const [batch, times] of theirs) {
    console.log(`  lm_eval, batch ${batch.padEnd(6)}  ${best(times).toFixed(2)} s`);
  }
  const fastest = Math.min(...[...theirs.values()].map(best));
  console.log(`  ratio to its fastest   ${(fastest / best(own)).toFixed(2)}`);
} finally {
  rmSync(temporary, { recursive: true, force: true });
}

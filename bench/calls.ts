/**
 * Overhead of operator calls beside PyTorch's Python, in one run: `npm run bench:calls -- --python PYTHON`, where
 * PYTHON is an interpreter with torch. Both sides run the same small operations; the median of interleaved
 * rounds counts, and their ratio is what is stated.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import * as torch from '../src/torch/index.js';

const { values } = parseArgs({
  options: { python: { type: 'string' }, rounds: { type: 'string', default: '15' } },
});
const python = values.python ?? process.env.DISCO_BENCH_PYTHON;
if (python === undefined) {
  console.error('Name a Python interpreter that has torch: npm run bench:calls -- --python PATH');
  process.exit(2);
}

/** Runs `count` times and returns microseconds per run. */
type Row = (count: number) => number;

function timed(count: number, body: () => void): number {
  const began = process.hrtime.bigint();
  for (let i = 0; i < count; i++) body();
  return Number(process.hrtime.bigint() - began) / 1000 / count;
}

function scoped(body: () => void): Row {
  return (count) => timed(count, () => torch.scope(body));
}

/** Operations without the cost of a scope for each: a scope for every hundred, as a layer has. */
function plain(body: () => void): Row {
  return (count) =>
    timed(count / 100, () =>
      torch.scope(() => {
        for (let i = 0; i < 100; i++) body();
      }),
    ) / 100;
}

torch.setNumThreads(1);
const one = torch.ones([1]);
const matrix = torch.ones([4, 4]);
const [x, w1, w2] = [torch.ones([8, 16]), torch.ones([32, 16]), torch.ones([4, 32])];
w1.requiresGrad_();
w2.requiresGrad_();
w1.grad = torch.zeros([32, 16]);
w2.grad = torch.zeros([4, 32]);

const ROWS: [string, number, Row][] = [
  ['add, one element', 20_000, plain(() => one.add(one))],
  ['view', 20_000, plain(() => matrix.view([16]))],
  ['mm 4x4', 20_000, plain(() => matrix.mm(matrix))],
  [
    'MLP forward and backward',
    1_000,
    scoped(() => {
      const loss = torch.linear(torch.linear(x, w1).silu(), w2).square().mean();
      torch.backward([loss]);
    }),
  ],
];

const PEER = `
import sys, time, torch
import torch.nn.functional as F
torch.set_num_threads(1)
one = torch.ones(1); matrix = torch.ones(4, 4)
x, w1, w2 = torch.ones(8, 16), torch.ones(32, 16, requires_grad=True), torch.ones(4, 32, requires_grad=True)
w1.grad = torch.zeros(32, 16); w2.grad = torch.zeros(4, 32)
def mlp():
    F.linear(F.silu(F.linear(x, w1)), w2).square().mean().backward()
rows = [lambda: one + one, lambda: matrix.view(16), lambda: matrix.mm(matrix), mlp]
for line in sys.stdin:
    row, count = map(int, line.split())
    f = rows[row]
    t = time.perf_counter_ns()
    for _ in range(count): f()
    print((time.perf_counter_ns() - t) / 1000 / count, flush=True)
`;

class Peer {
  readonly process: ChildProcessWithoutNullStreams;
  private readonly lines: AsyncIterator<string>;
  constructor(interpreter: string) {
    this.process = spawn(interpreter, ['-c', PEER]);
    this.process.stderr.pipe(process.stderr);
    this.lines = createInterface(this.process.stdout)[Symbol.asyncIterator]();
  }
  async run(row: number, count: number): Promise<number> {
    this.process.stdin.write(`${row} ${count}\n`);
    const { value, done } = await this.lines.next();
    if (done) throw new Error('the Python peer ended');
    return Number(value);
  }
}

const median = (list: number[]): number => list.sort((a, b) => a - b)[Math.floor(list.length / 2)]!;
const peer = new Peer(python);
console.log(
  `libtorch ${torch.version()}, Node ${process.version}, one thread; microseconds per call, medians`,
);
console.log(`${'operation'.padEnd(28)}${'ours'.padStart(8)}${'Python'.padStart(8)}${'ratio'.padStart(8)}`);
for (const [index, [name, count, row]] of ROWS.entries()) {
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = -2; round < Number(values.rounds); round++) {
    const a = row(count);
    const b = await peer.run(index, count);
    // The first rounds warm both up.
    if (round < 0) continue;
    ours.push(a);
    theirs.push(b);
  }
  const [a, b] = [median(ours), median(theirs)];
  console.log(
    `${name.padEnd(28)}${a.toFixed(2).padStart(8)}${b.toFixed(2).padStart(8)}${(a / b).toFixed(2).padStart(8)}`,
  );
}
peer.process.stdin.end();

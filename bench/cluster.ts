/**
 * K-means beside scikit-learn and faiss, and the partition of large corpora: `npm run bench:cluster`.
 *
 * First the same vectors, the same initial centroids and the same number of iterations in all three, none taking a
 * sample, in turn, with the seeds 0 to 4: medians of the seconds and of the objective (each computed here from the
 * centroids). Then the whole partition stage over three sizes of a token store. The peers are installed into a virtual
 * environment in the user's cache, unless --python names an interpreter that has them; --scale 0.01 tries it in small;
 * --part kmeans or corpus does one of both.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Random } from '../src/corpus/random.js';
import { kMeans } from '../src/partition/kmeans.js';
import { objective } from '../src/partition/lloyd.js';
import { assignAndSum, sumOfSquares } from '../src/partition/nearest.js';
import { cacheFolder } from '../src/setup/cache.js';
import * as torch from '../src/torch/index.js';
import { partitionLargeCorpora } from './cluster-corpora.js';

const SHAPES = [
  [200_000, 256, 16],
  [50_000, 2048, 4],
  [100_000, 768, 64],
] as const;
const ITERATIONS = 25;
const REQUIREMENTS = ['scikit-learn==1.9.1', 'faiss-cpu==1.15.1'];

const { values } = parseArgs({
  options: {
    python: { type: 'string' },
    scale: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '5' },
    part: { type: 'string', default: 'both' },
  },
});
const scale = Number(values.scale);
const threads = availableParallelism();
const pause = async (): Promise<void> => {};

/** An interpreter with the peers. */
function python(): string {
  if (values.python !== undefined) return values.python;
  const folder = join(cacheFolder({ env: process.env, home: homedir() }), 'bench-cluster');
  const found = join(folder, 'bin', 'python');
  if (existsSync(join(folder, 'complete'))) return found;
  console.error(`Installing ${REQUIREMENTS.join(' and ')} into ${folder}`);
  for (const [command, ...options] of [
    ['python3', '-m', 'venv', '--clear', folder],
    [found, '-m', 'pip', 'install', '--quiet', '--no-input', ...REQUIREMENTS],
  ]) {
    const { status } = spawnSync(command!, options, { stdio: 'inherit' });
    if (status !== 0) throw new Error(`${command} ended with status ${status}`);
  }
  writeFileSync(join(folder, 'complete'), '');
  return found;
}

class Peer {
  readonly process: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    const script = fileURLToPath(new URL('cluster-peer.py', import.meta.url));
    const env = { ...process.env, OMP_NUM_THREADS: String(threads), OMP_WAIT_POLICY: 'PASSIVE' };
    this.process = spawn(python(), [script], { env });
    this.process.stderr.pipe(process.stderr);
    this.#lines = createInterface(this.process.stdout)[Symbol.asyncIterator]();
  }

  async answer(): Promise<Record<string, unknown>> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the Python peer ended');
    return JSON.parse(value as string) as Record<string, unknown>;
  }

  ask(request: unknown): Promise<Record<string, unknown>> {
    this.process.stdin.write(`${JSON.stringify(request)}\n`);
    return this.answer();
  }
}

const median = (list: number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!;

/** Overlapping groups, three for each cluster, so that 25 iterations are not the end. */
function makeVectors(
  n: number,
  d: number,
  k: number,
  seed: number,
): { x: Float32Array; start: Float32Array } {
  torch.manualSeed(seed);
  const random = new Random('bench', seed);
  return torch.scope(() => {
    const groups = Int32Array.from({ length: n }, () => random.below(3 * k));
    // Centres about three standard deviations apart, whatever the dimension.
    const centres = torch.randn([3 * k, d]).mul_(2 / Math.sqrt(d));
    const x = torch.randn([n, d]).add_(centres.indexSelect(0, torch.tensor(groups)));
    const rows = random.permutation(n).slice(0, k);
    const start = x.indexSelect(0, torch.tensor(rows));
    return { x: x.toArray() as Float32Array, start: start.toArray() as Float32Array };
  });
}

/** The objective of centroids, computed alike for all. */
async function objectiveOf(x: Float32Array, d: number, centroids: Float32Array): Promise<number> {
  const [vectors, points] = [
    torch.tensor(x, [x.length / d, d]),
    torch.tensor(centroids, [centroids.length / d, d]),
  ];
  try {
    const sums = await assignAndSum(vectors, points, new Int32Array(x.length / d), pause);
    return objective(await sumOfSquares(vectors, { device: 'cpu', pause }), sums, centroids);
  } finally {
    vectors.dispose();
    points.dispose();
  }
}

interface Result {
  seconds: number;
  objective: number;
  iterations: number;
}

async function compare(peer: Peer, folder: string, shape: readonly [number, number, number]): Promise<void> {
  const [n, d, k] = [Math.max(1000, Math.round(shape[0] * scale)), shape[1], shape[2]];
  const results: Record<string, Result[]> = { ours: [], 'scikit-learn': [], faiss: [] };
  for (let seed = 0; seed < Number(values.seeds); seed++) {
    const { x, start } = makeVectors(n, d, k, seed);
    const files = { x: join(folder, 'x'), c: join(folder, 'c'), out: join(folder, 'out') };
    writeFileSync(files.x, x);
    writeFileSync(files.c, start);
    const vectors = torch.tensor(x, [n, d]);
    const began = performance.now();
    const found = await kMeans(vectors, {
      clusters: k,
      seed,
      restarts: 1,
      maxIterations: ITERATIONS,
      initial: start,
      batchSize: null,
      limit: null,
      device: 'cpu',
      pause,
    });
    const seconds = (performance.now() - began) / 1000;
    vectors.dispose();
    results.ours!.push({
      seconds,
      objective: await objectiveOf(x, d, found.centroids),
      iterations: found.iterations,
    });
    for (const who of ['scikit-learn', 'faiss']) {
      const answer = await peer.ask({ who, ...files, n, d, k, iterations: ITERATIONS });
      const bytes = readFileSync(files.out);
      const centroids = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      results[who]!.push({
        seconds: Number(answer.seconds),
        objective: await objectiveOf(x, d, centroids),
        iterations: Number(answer.iterations),
      });
    }
  }
  const middle = (who: string, key: keyof Result): number => median(results[who]!.map((one) => one[key]));
  const ratio = (key: 'seconds' | 'objective'): string => {
    // Seed by seed, against the better peer of that seed.
    const list = results.ours!.map(
      (one, i) => one[key] / Math.min(results.faiss![i]![key], results['scikit-learn']![i]![key]),
    );
    return median(list).toFixed(key === 'seconds' ? 2 : 5);
  };
  const cells = ['ours', 'scikit-learn', 'faiss'].map((who) => middle(who, 'seconds').toFixed(2));
  const done = ['ours', 'scikit-learn', 'faiss'].map((who) => middle(who, 'iterations')).join(', ');
  console.log(
    `| ${n} x ${d}, ${k} | ${cells.join(' | ')} | ${ratio('seconds')} | ${ratio('objective')} | ${done} |`,
  );
}

console.log(
  `${cpus()[0]?.model.trim()}, ${threads} threads, Node ${process.version}, libtorch ${torch.version()}`,
);
torch.setNumThreads(threads);
if (values.part !== 'corpus') {
  const peer = new Peer();
  const versions = await peer.answer();
  const folder = mkdtempSync(join(tmpdir(), 'bench-cluster-'));
  console.log(
    `\nK-means, ${ITERATIONS} iterations from the same centroids, seconds: medians of ${values.seeds} seeds, in turn; ` +
      `scikit-learn ${versions['scikit-learn']}, faiss ${versions.faiss}\n`,
  );
  console.log(
    '| vectors, clusters | ours | scikit-learn | faiss | time by the faster | objective by the better | iterations |',
  );
  console.log('|---|---:|---:|---:|---:|---:|---|');
  try {
    for (const shape of SHAPES) await compare(peer, folder, shape);
  } finally {
    peer.process.stdin.end();
    rmSync(folder, { recursive: true, force: true });
  }
}
if (values.part !== 'kmeans') await partitionLargeCorpora(scale);

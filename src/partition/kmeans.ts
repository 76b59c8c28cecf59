/**
 * K-means (Algorithm 1, line 2): k-means++ centres, several restarts, and Lloyd's iterations over all vectors or
 * mini-batches. Distances and the sums within a piece are float32, sums over pieces and the objective float64. The
 * result follows from the vectors, the seed, the device and the number of threads.
 *
 * Shapes: n vectors of d dimensions, E clusters.
 */
import { Random } from '../corpus/random.js';
import { RequestError } from '../errors.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { capacityAssignment, type SizeLimit } from './capacity.js';
import { meanVector, prepareVectors } from './document-vectors.js';
import { type Clustering, type LloydOptions, lloyd, objective, toNearest } from './lloyd.js';
import { drawRows, miniBatches } from './mini-batch.js';
import { squaredDistances, sumClusters, sumOfSquares } from './nearest.js';
import type { Pause } from './pause.js';
import { plusPlusCentroids } from './plus-plus.js';

/** Batches from which k-means++ draws its centres, and by which the restarts of mini-batches are compared. */
const SAMPLE_BATCHES = 8;

/** How to cluster. */
export interface KMeansOptions {
  /** E. */
  clusters: number;
  seed: number;
  /** Independent starts; the lowest objective is kept, of equal ones the first. */
  restarts: number;
  /** Lloyd iterations, or mini-batches, of one start at most. */
  maxIterations: number;
  /** Centroids to start from, row-major [E, d], instead of k-means++; then there is one start. */
  initial?: Float32Array;
  /** Vectors of a mini-batch; null: every iteration is over all vectors. */
  batchSize: number | null;
  /** Limits the sizes of the clusters; null: every vector goes to its nearest centroid. */
  limit: SizeLimit | null;
  /** Where to compute; the vectors may lie elsewhere. */
  device: string;
  pause: Pause;
  /** Told after every iteration. */
  onIteration?: (state: { restart: number; iteration: number; inertia: number }) => void;
}

/** The best start, and the objectives of all. */
export interface KMeansResult extends Clustering {
  /** Sum of squared distances to the mean of all vectors: the objective of a single cluster. */
  total: number;
  inertias: number[];
  /** The mean of all vectors, which they were moved by: float32 [d]. */
  origin: Float32Array;
}

/**
 * Clusters vectors.
 *
 * @param vectors float32 [n, d]; moved so that their mean is the origin, as distances lose no digits there. The
 * centroids that are returned lie where the vectors lay before.
 * @throws RequestError when there are fewer vectors than clusters
 */
export async function kMeans(vectors: Tensor, options: KMeansOptions): Promise<KMeansResult> {
  const [n, d] = vectors.shape as [number, number];
  const { clusters, device, pause, limit, initial } = options;
  if (n < clusters) {
    throw new RequestError('There are fewer vectors than clusters.', {
      expected: `at least ${clusters} vectors`,
      found: String(n),
    });
  }
  const origin = await meanVector(vectors, device, pause);
  await prepareVectors(vectors, { mean: origin, normalize: false }, pause);
  const total = await sumOfSquares(vectors, { device, pause });
  const inertias: number[] = [];
  let best: Clustering | null = null;
  for (let restart = 0; restart < (initial === undefined ? options.restarts : 1); restart++) {
    const found = await start(
      vectors,
      total,
      initial?.map((value, i) => value - origin[i % d]!),
      options,
      restart,
    );
    inertias.push(found.inertia);
    if (best === null || found.inertia < best.inertia) best = found;
  }
  if (options.batchSize !== null || limit !== null) {
    best = await lloyd(vectors, best!.centroids, {
      ...lloydOptions(total, options, inertias.length),
      // After mini-batches one pass gives every vector its label; a limit is met by iterations of its own.
      maxIterations: limit === null ? 0 : options.maxIterations,
      assign: limit === null ? toNearest(pause) : withinLimit(limit, pause),
    });
  }
  const centroids = best!.centroids.map((value, i) => value + origin[i % d]!);
  return { ...best!, centroids, total, inertias, origin };
}

/** One start: its centroids, and for Lloyd's iterations over all vectors its labels. */
async function start(
  x: Tensor,
  total: number,
  initial: Float32Array | undefined,
  options: KMeansOptions,
  restart: number,
): Promise<Clustering> {
  const { clusters, seed, maxIterations, batchSize, device, pause, onIteration } = options;
  const random = new Random(seed, 'k-means', restart);
  if (batchSize === null) {
    const from = initial ?? (await plusPlusCentroids(x, clusters, random, { device, pause }));
    return lloyd(x, from, lloydOptions(total, options, restart));
  }
  const sample = drawRows(
    x,
    Math.max(clusters, SAMPLE_BATCHES * batchSize),
    new Random(seed, 'sample'),
    device,
  );
  try {
    const centroids = initial ?? (await plusPlusCentroids(sample, clusters, random, { device, pause }));
    await miniBatches(x, centroids, {
      batches: maxIterations,
      batchSize,
      random,
      device,
      pause,
      onBatch: (iteration, inertia) => onIteration?.({ restart, iteration, inertia }),
    });
    const labels = new Int32Array(sample.shape[0]!);
    const points = torch.tensor(centroids, [clusters, x.shape[1]!], { device });
    try {
      const sums = await toNearest(pause)(sample, points, labels);
      const scale = x.shape[0]! / labels.length;
      const inertia = scale * objective(await sumOfSquares(sample, { device, pause }), sums, centroids);
      return { labels, centroids, inertia, iterations: maxIterations, converged: false };
    } finally {
      points.dispose();
    }
  } finally {
    sample.dispose();
  }
}

function lloydOptions(
  total: number,
  { clusters, maxIterations, device, pause, onIteration }: KMeansOptions,
  restart: number,
): LloydOptions {
  return {
    clusters,
    maxIterations,
    total,
    device,
    pause,
    assign: toNearest(pause),
    onIteration: (iteration, inertia) => onIteration?.({ restart, iteration, inertia }),
  };
}

/** The assignment under a limit on sizes, the sum of squared distances being the smallest that it allows. */
function withinLimit(limit: SizeLimit, pause: Pause): LloydOptions['assign'] {
  return async (x, centroids, labels) => {
    const distances = await squaredDistances(x, centroids, pause);
    labels.set(await capacityAssignment(distances, limit, pause));
    return sumClusters(x, labels, centroids.shape[0]!, { device: centroids.device, pause });
  };
}

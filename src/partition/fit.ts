/** Algorithm 1, lines 1 and 2: documents to vectors, vectors to clusters. */
import type { Recipe } from '../recipe/schema.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import {
  type DocumentIds,
  documentVectors,
  meanVector,
  type Preparation,
  prepareVectors,
} from './document-vectors.js';
import { type KMeansResult, kMeans } from './kmeans.js';
import type { Matrix } from './model-file.js';
import { squaredDistances } from './nearest.js';
import type { Pause } from './pause.js';
import { tokensPerCluster } from './random-partition.js';

/** Documents named per cluster as examples. */
const SAMPLES = 4;

export interface FitOptions {
  settings: Pick<Recipe['partition'], 'center' | 'normalize' | 'restarts' | 'maxIterations'>;
  /** E. */
  clusters: number;
  seed: number;
  pause: Pause;
  /** Told what is being done. */
  progress: (note: string, step?: number, steps?: number) => void;
}

/** Clusters numbered by falling tokens: the longest submodel is the first in a queue. */
export interface Fit extends Preparation {
  kmeans: KMeansResult;
  centroids: Matrix;
  /** Of each cluster the documents nearest to its centroid, nearest first. */
  typical: number[][];
}

/**
 * Clusters the documents of a store.
 * @param table float32 [V, d], on the device that computes
 */
export async function fitPartition(source: DocumentIds, table: Tensor, options: FitOptions): Promise<Fit> {
  const { settings, clusters, seed, pause, progress } = options;
  const { documents } = source.store;
  const vectors = await documentVectors(source, table, pause, (done) =>
    progress('document vectors', done, documents),
  );
  try {
    const mean = settings.center ? meanVector(vectors) : null;
    const preparation = { mean, normalize: settings.normalize };
    prepareVectors(vectors, preparation);
    const found = await kMeans(vectors, {
      clusters,
      seed,
      restarts: settings.restarts,
      maxIterations: settings.maxIterations,
      pause,
      onIteration: ({ restart, iteration, inertia }) =>
        progress(
          `k-means start ${restart + 1}, iteration ${iteration}, inertia ${inertia.toPrecision(6)}`,
          restart + 1,
          settings.restarts,
        ),
    });
    const tokens = Float64Array.from({ length: documents }, (_, d) =>
      Math.min(source.limit, source.store.length(d)),
    );
    const kmeans = renumber(found, tokensPerCluster(found.labels, tokens, clusters));
    const columns = vectors.shape[1]!;
    const centroids = { rows: clusters, columns, values: kmeans.centroids };
    return { ...preparation, kmeans, centroids, typical: await nearestDocuments(vectors, kmeans, pause) };
  } finally {
    vectors.dispose();
  }
}

/** The same clusters, the one with the most tokens first. */
function renumber(found: KMeansResult, tokens: Float64Array): KMeansResult {
  const order = Int32Array.from(tokens.keys()).sort((a, b) => tokens[b]! - tokens[a]! || a - b);
  const number = new Int32Array(order.length);
  order.forEach((old, k) => {
    number[old] = k;
  });
  const d = found.centroids.length / order.length;
  const centroids = new Float32Array(found.centroids.length);
  order.forEach((old, k) => {
    centroids.set(found.centroids.subarray(old * d, (old + 1) * d), k * d);
  });
  return { ...found, labels: found.labels.map((label) => number[label]!), centroids };
}

async function nearestDocuments(vectors: Tensor, found: KMeansResult, pause: Pause): Promise<number[][]> {
  const d = vectors.shape[1]!;
  const clusters = found.centroids.length / d;
  const points = torch.tensor(found.centroids, [clusters, d], { device: vectors.device });
  try {
    const distances = await squaredDistances(vectors, points, pause);
    const typical: number[][] = Array.from({ length: clusters }, () => []);
    const distance = (document: number): number => distances[document * clusters + found.labels[document]!]!;
    found.labels.forEach((label, document) => {
      const best = typical[label]!;
      let at = best.length;
      while (at > 0 && distance(best[at - 1]!) > distance(document)) at--;
      if (at < SAMPLES) best.splice(at, 0, document);
      best.length = Math.min(best.length, SAMPLES);
    });
    return typical;
  } finally {
    points.dispose();
  }
}

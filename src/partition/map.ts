/** The map of Figure 8: documents and centroids on the two leading principal axes of the documents' vectors. */
import { Random } from '../corpus/random.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { denseMap, truncatedSvd } from './low-rank.js';
import { sampleRows, takeRows } from './measures.js';
import type { Pause } from './pause.js';

/** Documents on the map, and those by which its axes are found. */
const SHOWN = 1500;
const FITTED = 4000;

interface MapPoint {
  x: number;
  y: number;
  cluster: number;
}

export interface DocumentMap {
  documents: MapPoint[];
  centroids: MapPoint[];
  /** Share of the sample's variance along each axis. */
  variance: [number, number];
}

/**
 * @param x float32 [n, d]; their mean is the origin
 * @param labels int32 [n]
 * @param centroids float32 [E, d], about the same origin
 */
export async function documentMap(
  x: Tensor,
  labels: Int32Array,
  centroids: Float32Array,
  { seed, device, pause }: { seed: number; device: string; pause: Pause },
): Promise<DocumentMap> {
  const rows = sampleRows(x.shape[0]!, FITTED, seed, 'map');
  const shown = sampleRows(rows.length, SHOWN, seed, 'map shown');
  const d = x.shape[1]!;
  const taken = takeRows(x, rows, device);
  try {
    const across = torch.scope(() => taken.t().contiguous());
    let axes: Awaited<ReturnType<typeof truncatedSvd>>;
    try {
      axes = await truncatedSvd(denseMap(across), 2, new Random(seed, 'map axes'), pause);
    } finally {
      across.dispose();
    }
    const project = (points: Tensor): Float32Array =>
      points.mm(torch.tensor(axes.vectors, [d, axes.rank], { device })).toArray() as Float32Array;
    return torch.scope(() => {
      const total = taken.square().sum(null, { dtype: 'float64' }).item() || 1;
      const places = project(taken);
      const centres = project(torch.tensor(centroids, [centroids.length / d, d], { device }));
      const at = (values: Float32Array, i: number, cluster: number): MapPoint => ({
        x: values[i * axes.rank] ?? 0,
        y: axes.rank > 1 ? values[i * axes.rank + 1]! : 0,
        cluster,
      });
      return {
        documents: Array.from(shown, (i) => at(places, i, labels[rows[i]!]!)),
        centroids: Array.from({ length: centroids.length / d }, (_, k) => at(centres, k, k)),
        variance: [(axes.values[0] ?? 0) ** 2 / total, (axes.values[1] ?? 0) ** 2 / total],
      };
    });
  } finally {
    taken.dispose();
  }
}

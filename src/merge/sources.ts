/**
 * The tensors of the merged model, each made when the writer asks for it, piece by piece: experts concatenated (or the
 * only one copied), backbone averaged, the router's original rows. What was made is recorded tensor by tensor, so that
 * merge.json accounts for all.
 */
import { createHash } from 'node:crypto';
import { DataError } from '../errors.js';
import { sha256 } from '../formats/hash.js';
import type { SafetensorsDtype, TensorSource } from '../formats/safetensors.js';
import type { Weights } from '../formats/weights.js';
import { type ModelConfig, submodelConfig } from '../model/config.js';
import { allParameters } from '../model/model-folder.js';
import type { Parameter } from '../model/parameters.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import type { DriftSums } from './average.js';
import type { TensorRecord } from './report.js';
import { streamAverage } from './stream.js';

/** A submodel whose weights are open. */
export interface MergePart {
  /** What merge.json calls it: a stage, or a folder. */
  stage: string;
  weights: Weights;
  /** Which expert it was split for, and so whose row of the router it has; left out: its place among the parts. */
  expert?: number;
}

/** What the submodels were made from: the router's rows, and theta_0 of the radial average. */
export interface InitialWeights {
  /** What merge.json calls it. */
  name: string;
  /** The type of a router's tensor; null: that of the submodels. */
  type(parameter: Parameter): SafetensorsDtype | null;
  /** A parameter of the whole model. The caller frees it. */
  tensor(parameter: Parameter): Tensor;
}

/** How each tensor of the merged model is made. */
export interface MergeRecipe {
  config: ModelConfig;
  /** Weights of the submodels' backbones, one each. */
  gamma: readonly number[];
  average: 'plain' | 'radial';
  initial: InitialWeights;
  /** Called for every piece that is made, with its bytes. */
  made?(bytes: number): void;
}

export interface MergePlan {
  sources: TensorSource[];
  /** Filled while the sources are written. */
  records: TensorRecord[];
  drift: DriftSums[];
}

/** Plans the merge of all submodels. The sources are good for one writing, while the submodels are open. */
export function planMerge(parts: readonly MergePart[], recipe: MergeRecipe): MergePlan {
  const plan: MergePlan = { sources: [], records: [], drift: [] };
  const single = new Map(allParameters(submodelConfig(recipe.config)).map((one) => [one.part, one]));
  const types = new Map(
    [...single.values()].map(({ part, name }) => [part, parts[0]!.weights.info(name).dtype] as const),
  );
  for (const parameter of allParameters(recipe.config)) {
    const { name, shape, part } = parameter;
    // A router that the submodels do without has the type of the first tensor, the embedding.
    const own = types.get(part) ?? [...types.values()][0]!;
    const dtype = parameter.role === 'router' ? (recipe.initial.type(parameter) ?? own) : own;
    plan.sources.push({
      name,
      dtype,
      shape: [...shape],
      write: async (sink) => {
        const hash = createHash('sha256');
        const { made, from } = await mergeOne(
          parameter,
          single.get(part),
          parts,
          recipe,
          plan.drift,
          (bytes) => {
            recipe.made?.(bytes.length);
            hash.update(bytes);
            sink(bytes);
          },
        );
        plan.records.push({ name, dtype, shape: [...shape], made, from, sha256: hash.digest('hex') });
      },
    });
  }
  return plan;
}

/** @param single the parameter of a submodel that has the same part; none for a router that submodels do without */
async function mergeOne(
  parameter: Parameter,
  single: Parameter | undefined,
  parts: readonly MergePart[],
  { gamma, average, initial }: MergeRecipe,
  drift: DriftSums[],
  sink: (bytes: Uint8Array) => void,
): Promise<Pick<TensorRecord, 'made' | 'from'>> {
  if (parameter.role === 'router') {
    const bytes = torch.scope(() => initial.tensor(parameter).bytes());
    if (single && single.shape[1] === parameter.shape[1]) {
      for (const [k, part] of parts.entries()) expectRouterRow(part, single.name, bytes, part.expert ?? k);
    }
    sink(bytes);
    return { made: 'initial', from: [initial.name] };
  }
  const { name } = single!;
  const place = ({ stage }: MergePart): string => `${stage}:${name}`;
  if (parameter.role === 'expert') {
    const part = parts[parameter.expert! % parts.length]!;
    await part.weights.stream(name, sink);
    return { made: 'copy', from: [place(part)] };
  }
  const start = average === 'radial' ? initial.tensor(parameter) : null;
  try {
    const weights = parts.map((part) => part.weights);
    drift.push(await streamAverage(weights, name, { gamma, start }, sink));
    return { made: 'average', from: parts.map(place) };
  } finally {
    start?.dispose();
  }
}

/**
 * Concatenating the submodels' router rows gives the original router, since their training leaves them untouched:
 * the closest reading of "initialized by tensor concatenation" in the paper.
 */
function expectRouterRow({ weights }: MergePart, name: string, router: Uint8Array, k: number): void {
  const row = weights.read(name);
  const expected = router.subarray(k * row.length, (k + 1) * row.length);
  if (Buffer.compare(row, expected) === 0) return;
  throw new DataError(`The router row of submodel ${k} is not that of the initialisation.`, {
    file: weights.file(name),
    key: name,
    expected: sha256(expected),
    found: sha256(row),
  });
}

/**
 * The tensors of the merged model, each made when the writer asks for it: experts concatenated (or the only one
 * copied), backbone averaged, the router's original rows. What was made is recorded tensor by tensor, so that
 * merge.json accounts for all.
 */
import { DataError } from '../errors.js';
import { sha256 } from '../formats/hash.js';
import type { TensorSource } from '../formats/safetensors.js';
import { type ModelConfig, submodelConfig } from '../model/config.js';
import { type Parameter, parameterLayout } from '../model/parameters.js';
import { dtypeOfSafetensors } from '../model/store-files.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { averageTensors, type DriftSums } from './average.js';
import type { TensorRecord } from './report.js';
import type { OpenSibling } from './siblings.js';

/** How each tensor of the merged model is made. */
export interface MergeRecipe {
  config: ModelConfig;
  /** Weights of the submodels' backbones, one each. */
  gamma: readonly number[];
  average: 'plain' | 'radial';
  /** A parameter of the whole model as it was initialised: the router's rows, and theta_0 of the radial average. */
  initial(parameter: Parameter): Tensor;
}

export interface MergePlan {
  sources: TensorSource[];
  /** Filled while the sources are written. */
  records: TensorRecord[];
  drift: DriftSums[];
}

/** Plans the merge of all submodels. The sources are good for one writing, while the submodels are open. */
export function planMerge(siblings: readonly OpenSibling[], recipe: MergeRecipe): MergePlan {
  const plan: MergePlan = { sources: [], records: [], drift: [] };
  const dtype = siblings[0]!.weights.info(siblings[0]!.weights.names[0]!).dtype;
  const single = new Map(parametersOf(submodelConfig(recipe.config)).map((one) => [one.part, one]));
  for (const parameter of parametersOf(recipe.config)) {
    const { name, shape } = parameter;
    plan.sources.push({
      name,
      dtype,
      shape: [...shape],
      write: (sink) => {
        const { bytes, made, from } = mergeOne(
          parameter,
          single.get(parameter.part),
          siblings,
          recipe,
          plan.drift,
        );
        plan.records.push({ name, dtype, shape: [...shape], made, from, sha256: sha256(bytes) });
        sink(bytes);
      },
    });
  }
  return plan;
}

function parametersOf(config: ModelConfig): Parameter[] {
  return parameterLayout(config).flatMap((block) => block.parameters);
}

/** @param single the parameter of a submodel that has the same part; none for a router that submodels do without */
function mergeOne(
  parameter: Parameter,
  single: Parameter | undefined,
  siblings: readonly OpenSibling[],
  { gamma, average, initial }: MergeRecipe,
  drift: DriftSums[],
): { bytes: Uint8Array } & Pick<TensorRecord, 'made' | 'from'> {
  if (parameter.role === 'router') {
    const bytes = torch.scope(() => initial(parameter).bytes());
    if (single && single.shape[1] === parameter.shape[1]) {
      for (const [k, sibling] of siblings.entries()) expectRouterRow(sibling, single.name, bytes, k);
    }
    return { bytes, made: 'initial', from: ['init'] };
  }
  const { name } = single!;
  const place = ({ stage }: OpenSibling): string => `${stage}:${name}`;
  if (parameter.role === 'expert') {
    const sibling = siblings[parameter.expert! % siblings.length]!;
    return { bytes: sibling.weights.read(name), made: 'copy', from: [place(sibling)] };
  }
  return torch.scope(() => {
    const tensors = siblings.map(({ weights }) => {
      const { shape, dtype } = weights.info(name);
      return torch.fromBytes(weights.read(name), shape, dtypeOfSafetensors(dtype));
    });
    const averaged = averageTensors(tensors, gamma, average === 'radial' ? initial(parameter) : null);
    drift.push(averaged.drift);
    return { bytes: averaged.merged.bytes(), made: 'average' as const, from: siblings.map(place) };
  });
}

/**
 * Concatenating the submodels' router rows gives the original router, since their training leaves them untouched:
 * the closest reading of "initialized by tensor concatenation" in the paper.
 */
function expectRouterRow(sibling: OpenSibling, name: string, router: Uint8Array, k: number): void {
  const row = sibling.weights.read(name);
  const expected = router.subarray(k * row.length, (k + 1) * row.length);
  if (Buffer.compare(row, expected) === 0) return;
  throw new DataError(`The router row of submodel ${k} is not that of the initialisation.`, {
    file: sibling.weights.file(name),
    key: name,
    expected: sha256(expected),
    found: sha256(row),
  });
}

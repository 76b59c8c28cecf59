/**
 * The tensors of the merged model, each made when the writer asks for it: experts concatenated (or the only one
 * copied), backbone averaged, the router's original rows. What was made is recorded tensor by tensor, so that merge.json accounts for all.
 */
import { DataError } from '../errors.js';
import { sha256 } from '../formats/hash.js';
import type { TensorSource } from '../formats/safetensors.js';
import type { ModelConfig } from '../model/config.js';
import { type Parameter, parameterLayout } from '../model/parameters.js';
import type { ParameterStore } from '../model/store.js';
import { dtypeOfSafetensors } from '../model/store-files.js';
import * as torch from '../torch/index.js';
import { averageTensors, type DriftSums } from './average.js';
import type { Sibling } from './siblings.js';

/** Where one tensor of the merged model comes from. */
export interface TensorRecord {
  name: string;
  dtype: string;
  shape: readonly number[];
  /** `average` over all submodels, `copy` of one, or the `initial` values. */
  made: 'average' | 'copy' | 'initial';
  /** Stage and tensor of every part. */
  from: string[];
  /** SHA-256 of the bytes. */
  sha256: string;
}

export interface MergePlan {
  sources: TensorSource[];
  /** Filled while the sources are written. */
  records: TensorRecord[];
  drift: DriftSums[];
}

/**
 * Plans the merge of all submodels.
 *
 * @param initial the whole model's initial weights: the router's rows, and theta_0 of the radial average
 */
export function planMerge(
  siblings: readonly Sibling[],
  config: ModelConfig,
  gamma: readonly number[],
  average: 'plain' | 'radial',
  initial: ParameterStore,
): MergePlan {
  const plan: MergePlan = { sources: [], records: [], drift: [] };
  for (const parameter of parameterLayout(config).flatMap((block) => block.parameters)) {
    const first = siblings[0]!.weights.info(nameInSubmodel(parameter));
    plan.sources.push({
      name: parameter.name,
      dtype: first.dtype,
      shape: [...parameter.shape],
      write: (sink) => {
        const { bytes, made, from } = mergeOne(parameter, siblings, { gamma, average, initial }, plan.drift);
        const { name, shape } = parameter;
        plan.records.push({ name, dtype: first.dtype, shape, made, from, sha256: sha256(bytes) });
        sink(bytes);
      },
    });
  }
  return plan;
}

/** Expert e of the whole model is the only expert, number 0, of submodel e. */
function nameInSubmodel({ name, role }: Parameter): string {
  return role === 'expert' ? name.replace(/\.experts\.\d+\./, '.experts.0.') : name;
}

function mergeOne(
  parameter: Parameter,
  siblings: readonly Sibling[],
  {
    gamma,
    average,
    initial,
  }: { gamma: readonly number[]; average: 'plain' | 'radial'; initial: ParameterStore },
  drift: DriftSums[],
): { bytes: Uint8Array; made: TensorRecord['made']; from: string[] } {
  const name = nameInSubmodel(parameter);
  const place = ({ stage }: Sibling): string => `${stage}:${name}`;
  if (parameter.role === 'expert') {
    const sibling = siblings[parameter.expert! % siblings.length]!;
    return { bytes: sibling.weights.read(name), made: 'copy', from: [place(sibling)] };
  }
  if (parameter.role === 'router') {
    const bytes = torch.scope(() => initial.parameter(name).bytes());
    for (const [k, sibling] of siblings.entries()) expectRouterRow(sibling, name, bytes, k);
    return { bytes, made: 'initial', from: ['init'] };
  }
  const from = siblings.map(place);
  const parts = siblings.map(({ weights }) => weights.read(name));
  const info = siblings[0]!.weights.info(name);
  const dtype = dtypeOfSafetensors(info.dtype);
  return torch.scope(() => {
    const tensors = parts.map((bytes) => torch.fromBytes(bytes, [...info.shape], dtype));
    const averaged = averageTensors(tensors, gamma, average === 'radial' ? initial.parameter(name) : null);
    drift.push(averaged.drift);
    return { bytes: averaged.merged.bytes(), made: 'average' as const, from };
  });
}

/**
 * Concatenating the submodels' router rows gives the original router, since their training leaves them untouched:
 * the closest reading of "initialized by tensor concatenation" in the paper.
 */
function expectRouterRow(sibling: Sibling, name: string, router: Uint8Array, k: number): void {
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

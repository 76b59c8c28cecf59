/**
 * The tensors of the merged model, each made when the writer asks for it: experts concatenated, backbone averaged,
 * router rows concatenated. What was made is recorded tensor by tensor, so that merge.json accounts for all.
 */
import { sha256 } from '../formats/hash.js';
import type { TensorSource } from '../formats/safetensors.js';
import type { ModelConfig } from '../model/config.js';
import { type Parameter, parameterLayout } from '../model/parameters.js';
import { dtypeOfSafetensors } from '../model/store-files.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { averageTensors, type DriftSums } from './average.js';
import type { Sibling } from './siblings.js';

/** Where one tensor of the merged model comes from. */
export interface TensorRecord {
  name: string;
  dtype: string;
  shape: readonly number[];
  /** `average` over all submodels, `copy` of one, or `rows` of all under one another. */
  made: 'average' | 'copy' | 'rows';
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
 * @param start gives theta_0 of a backbone tensor (the caller frees it), for the radial average; null for the plain one
 */
export function planMerge(
  siblings: readonly Sibling[],
  config: ModelConfig,
  gamma: readonly number[],
  start: ((name: string) => Tensor) | null,
): MergePlan {
  const plan: MergePlan = { sources: [], records: [], drift: [] };
  for (const parameter of parameterLayout(config).flatMap((block) => block.parameters)) {
    const first = siblings[0]!.weights.info(nameInSubmodel(parameter));
    plan.sources.push({
      name: parameter.name,
      dtype: first.dtype,
      shape: [...parameter.shape],
      write: (sink) => {
        const { bytes, made, from } = mergeOne(parameter, siblings, gamma, start, plan.drift);
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
  gamma: readonly number[],
  start: ((name: string) => Tensor) | null,
  drift: DriftSums[],
): { bytes: Uint8Array; made: TensorRecord['made']; from: string[] } {
  const name = nameInSubmodel(parameter);
  const place = ({ stage }: Sibling): string => `${stage}:${name}`;
  if (parameter.role === 'expert') {
    const sibling = siblings[parameter.expert!]!;
    return { bytes: sibling.weights.read(name), made: 'copy', from: [place(sibling)] };
  }
  const from = siblings.map(place);
  const parts = siblings.map(({ weights }) => weights.read(name));
  if (parameter.role === 'router') return { bytes: Buffer.concat(parts), made: 'rows', from };
  const info = siblings[0]!.weights.info(name);
  const dtype = dtypeOfSafetensors(info.dtype);
  return torch.scope(() => {
    const tensors = parts.map((bytes) => torch.fromBytes(bytes, [...info.shape], dtype));
    const averaged = averageTensors(tensors, gamma, start?.(name) ?? null);
    drift.push(averaged.drift);
    return { bytes: averaged.merged.bytes(), made: 'average' as const, from };
  });
}

/** A store's tensors on their way to and from files, by Hugging Face name, and their fingerprints. */
import { createHash } from 'node:crypto';
import { DataError } from '../errors.js';
import type { SafetensorsDtype, TensorInfo, TensorSource } from '../formats/safetensors.js';
import type { DType } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { numbered, type Parameter, type Role } from './parameters.js';
import type { Kind, ParameterStore } from './store.js';

const safetensorsNames: Partial<Record<DType, SafetensorsDtype>> = {
  float32: 'F32',
  bfloat16: 'BF16',
  float64: 'F64',
  float16: 'F16',
};

/** What tensors are read from: an open safetensors file or Hugging Face folder. */
export interface TensorFile {
  readonly names: string[];
  info(name: string): TensorInfo;
  read(name: string): Uint8Array;
}

/** safetensors' name of a dtype that weights may have. */
export function safetensorsDtype(dtype: DType): SafetensorsDtype {
  const name = safetensorsNames[dtype];
  if (!name) throw new RangeError(`weights are not kept as ${dtype}`);
  return name;
}

/** The dtype of tensors that safetensors calls `name`. Throws DataError for one that weights do not have. */
export function dtypeOfSafetensors(name: SafetensorsDtype): DType {
  const dtype = (Object.keys(safetensorsNames) as DType[]).find((key) => safetensorsNames[key] === name);
  if (!dtype) throw new DataError('Weights are not kept in this type.', { found: name });
  return dtype;
}

/**
 * The tensors of one kind, to be written into a safetensors file. Bytes are read from the store when the writer
 * asks for them, one tensor at a time.
 *
 * @param prefix stands before every name: a checkpoint keeps several kinds in one file
 */
export function tensorSources(store: ParameterStore, kind: Kind = 'weights', prefix = ''): TensorSource[] {
  const dtype = safetensorsDtype(store.dtype);
  return store.parameters
    .filter((parameter) => kind === 'weights' || parameter.trained)
    .map(({ name, shape }) => ({
      name: prefix + name,
      dtype,
      shape: [...shape],
      write: (sink) => sink(bytesOf(store, kind, name)),
    }));
}

function bytesOf(store: ParameterStore, kind: Kind, name: string): Uint8Array {
  let bytes: Uint8Array | undefined;
  torch.scope(() => {
    bytes = store.view(kind, name)?.bytes();
  });
  if (!bytes) throw new RangeError(`the store keeps no ${kind} of ${name}`);
  return bytes;
}

/**
 * Fills one kind of a store from a file. Every tensor that the store wants must be there with its shape; a name
 * that begins with `prefix` and is not wanted is refused, so that nothing is dropped silently.
 *
 * @throws DataError naming file and tensor, what was expected and what was found
 */
export function loadTensors(
  store: ParameterStore,
  file: TensorFile,
  path: string,
  options: { kind?: Kind; prefix?: string } = {},
): void {
  const { kind = 'weights', prefix = '' } = options;
  const wanted = store.parameters.filter((parameter) => kind === 'weights' || parameter.trained);
  const names = new Set(wanted.map(({ name }) => prefix + name));
  const present = new Set(file.names.filter((name) => name.startsWith(prefix)));
  const missing = [...names].find((name) => !present.has(name));
  if (missing) throw new DataError('A tensor is missing.', { file: path, key: missing });
  const extra = [...present].find((name) => !names.has(name));
  if (extra) throw new DataError('A tensor has no place in this model.', { file: path, key: extra });
  for (const parameter of wanted) {
    torch.scope(() => torch.noGrad(() => loadOne(store, kind, parameter, prefix, file, path)));
  }
}

function loadOne(
  store: ParameterStore,
  kind: Kind,
  parameter: Parameter,
  prefix: string,
  file: TensorFile,
  path: string,
): void {
  const key = prefix + parameter.name;
  const info = file.info(key);
  if (info.shape.join() !== parameter.shape.join()) {
    const [expected, found] = [`[${parameter.shape}]`, `[${info.shape}]`];
    throw new DataError('A tensor has another shape.', { file: path, key, expected, found });
  }
  const dtype = (Object.keys(safetensorsNames) as DType[]).find(
    (name) => safetensorsNames[name] === info.dtype,
  );
  if (!dtype)
    throw new DataError('A tensor has an unexpected dtype.', { file: path, key, found: info.dtype });
  const target = store.view(kind, parameter.name);
  if (!target) throw new RangeError(`the store keeps no ${kind}`);
  target.copy_(torch.fromBytes(file.read(key), [...info.shape], dtype));
}

/** One hash of the tensors of a role: theta_shared for `backbone`, theta_k for `expert` with k. */
interface Fingerprint {
  /** The tensors in the order in which {@link Fingerprint.add} takes them. */
  readonly parameters: readonly Parameter[];
  /** Adds the bytes of the next tensor. */
  add(parameter: Parameter, bytes: Uint8Array): void;
  /** After the last one. */
  digest(): string;
}

/**
 * Begins a fingerprint: SHA-256 over the sorted (name, dtype, shape, bytes) of the parameters of one role. Experts are
 * named without their number, so that expert k of the whole model and the only expert of submodel k agree.
 *
 * @param expert which expert; left out: all parameters of the role
 */
export function beginFingerprint(
  all: readonly Parameter[],
  dtype: DType,
  role: Role,
  expert?: number,
): Fingerprint {
  const chosen = all
    .filter((parameter) => parameter.role === role && (expert === undefined || parameter.expert === expert))
    .map((parameter) => ({
      parameter,
      name: expert === undefined ? numbered(parameter.part, parameter.expert) : parameter.part,
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const hash = createHash('sha256');
  let next = 0;
  return {
    parameters: chosen.map(({ parameter }) => parameter),
    add(parameter, bytes) {
      const due = chosen[next++];
      if (due?.parameter !== parameter) throw new RangeError(`${parameter.name} is not the next tensor`);
      hash.update(`${JSON.stringify([due.name, dtype, parameter.shape])}\n`);
      hash.update(bytes);
    },
    digest() {
      if (next !== chosen.length) throw new RangeError(`${chosen[next]!.name} is missing`);
      return hash.digest('hex');
    },
  };
}

/** {@link beginFingerprint} of the weights of a store. */
export function fingerprint(store: ParameterStore, role: Role, expert?: number): string {
  const print = beginFingerprint(store.parameters, store.dtype, role, expert);
  for (const parameter of print.parameters) print.add(parameter, bytesOf(store, 'weights', parameter.name));
  return print.digest();
}

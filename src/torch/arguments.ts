/**
 * Writing the arguments of an operator call into the array that the addon reads, and the three forms of the
 * call. Used by the generated wrappers only.
 */
import { type DType, dtypeCode } from './dtype.js';
import { TorchTypeError } from './errors.js';
import { native } from './native.js';
import { assertCompatible, parseSchema } from './schema.js';
import type { Tensor } from './tensor.js';

const buffer = native.argumentBuffer();
let cursor = 0;

// What stands before each argument: see native/call.h.
const DEFAULT = 0;
const NONE = 1;
const NUMBER = 2;
const BOOLEAN = 3;
const TENSOR = 4;
const NUMBERS = 5;
const TENSORS = 6;
const STRING = 7;
const DEVICE = 8;

const DEVICE_TYPES: Record<string, number> = { cpu: 0, cuda: 1, hip: 6, xpu: 12, mps: 13, meta: 14 };
const strings = new Map<string, number>();

/**
 * The number of an operator, by the schema that the wrappers were generated from. Throws EngineError when the
 * loaded library lacks it or has changed it in a way that matters.
 */
export function operator(schema: string): number {
  const wanted = parseSchema(schema);
  const found = native.operatorSchema(wanted.name, wanted.overload);
  if (found !== schema) assertCompatible(wanted, found, native.version());
  return native.registerOperator(wanted.name, wanted.overload);
}

/** Begins a call. */
export function begin(): void {
  cursor = 0;
}

/** Writes what stands for an argument that is left out; false when there is one. */
function absent(value: unknown): value is null | undefined {
  if (value !== undefined && value !== null) return false;
  buffer[cursor++] = value === undefined ? DEFAULT : NONE;
  return true;
}

/** A tensor, or null where the schema allows none; undefined takes the schema's default. */
export function tensor(value: Tensor | null | undefined): void {
  if (absent(value)) return;
  buffer[cursor++] = TENSOR;
  buffer[cursor++] = value.handle;
}

/** A number; null and undefined as in {@link tensor}. */
export function number(value: number | null | undefined): void {
  if (absent(value)) return;
  if (typeof value !== 'number') throw new TorchTypeError(`expected a number, found ${typeof value}`, '');
  buffer[cursor++] = NUMBER;
  buffer[cursor++] = value;
}

/** A boolean; null and undefined as in {@link tensor}. */
export function boolean(value: boolean | null | undefined): void {
  if (absent(value)) return;
  buffer[cursor++] = BOOLEAN;
  buffer[cursor++] = value ? 1 : 0;
}

/** A number or boolean that takes part in arithmetic. */
export function scalar(value: number | boolean | null | undefined): void {
  if (typeof value === 'boolean') boolean(value);
  else number(value);
}

/** Either: for operators with a tensor and a scalar overload. */
export function tensorOrScalar(value: Tensor | number | boolean): void {
  if (typeof value === 'object') tensor(value);
  else scalar(value);
}

/** A list of numbers, or one number where the schema gives the length. */
export function numbers(value: readonly number[] | number | null | undefined): void {
  if (value === undefined || value === null || typeof value === 'number') {
    number(value);
    return;
  }
  if (!Array.isArray(value)) throw new TorchTypeError('expected an array of numbers', '');
  buffer[cursor++] = NUMBERS;
  buffer[cursor++] = value.length;
  for (let i = 0; i < value.length; i++) buffer[cursor++] = value[i] as number;
}

/** A list of tensors; null entries where the schema allows them. */
export function tensors(value: readonly (Tensor | null)[]): void {
  if (!Array.isArray(value)) throw new TorchTypeError('expected an array of tensors', '');
  buffer[cursor++] = TENSORS;
  buffer[cursor++] = value.length;
  for (let i = 0; i < value.length; i++) {
    const item = value[i] as Tensor | null | undefined;
    buffer[cursor++] = item === null ? 0 : item === undefined ? Number.NaN : item.handle;
  }
}

/** An element type; null and undefined as in {@link tensor}. */
export function dtype(value: DType | null | undefined): void {
  number(value === undefined || value === null ? value : dtypeCode(value));
}

/** A string; null and undefined as in {@link tensor}. */
export function string(value: string | null | undefined): void {
  if (absent(value)) return;
  let index = strings.get(value);
  if (index === undefined) {
    index = native.internString(value);
    strings.set(value, index);
  }
  buffer[cursor++] = STRING;
  buffer[cursor++] = index;
}

/** A device such as `cpu` or `cuda:1`; null and undefined as in {@link tensor}. */
export function device(value: string | null | undefined): void {
  if (absent(value)) return;
  const [type = '', index] = String(value).split(':');
  buffer[cursor++] = DEVICE;
  buffer[cursor++] = DEVICE_TYPES[type] ?? Number.NaN;
  buffer[cursor++] = index === undefined ? -1 : Number(index);
}

/** An argument that the wrappers do not offer: always the schema's default. */
export function fallback(): void {
  buffer[cursor++] = DEFAULT;
}

/** Calls an operator that returns one tensor; its handle, 0 when undefined. */
export function callTensor(index: number): number {
  return native.callTensor(index, cursor);
}

/** Calls an operator that returns several tensors; their handles. */
export function callTensors(index: number): number[] {
  const count = native.callTensors(index, cursor);
  const handles = new Array<number>(count);
  for (let i = 0; i < count; i++) handles[i] = buffer[i] as number;
  return handles;
}

/** Calls an operator that works in place. */
export function callVoid(index: number): void {
  native.callVoid(index, cursor);
}

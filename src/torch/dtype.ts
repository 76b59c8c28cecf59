/** Element types by PyTorch's names, with the codes of c10::ScalarType that cross the native boundary. */
import { EngineError } from '../errors.js';

const CODES = {
  uint8: 0,
  int8: 1,
  int16: 2,
  int32: 3,
  int64: 4,
  float16: 5,
  float32: 6,
  float64: 7,
  bool: 11,
  bfloat16: 15,
} as const;

/** An element type. */
export type DType = keyof typeof CODES;

const NAMES = new Map<number, DType>(Object.entries(CODES).map(([name, code]) => [code, name as DType]));

const BYTES: Record<DType, number> = {
  uint8: 1,
  int8: 1,
  int16: 2,
  int32: 4,
  int64: 8,
  float16: 2,
  float32: 4,
  float64: 8,
  bool: 1,
  bfloat16: 2,
};

/** The code of a dtype; NaN for an unknown name, which the native side refuses. */
export function dtypeCode(dtype: DType): number {
  return CODES[dtype] ?? Number.NaN;
}

/** The dtype of a code. Throws EngineError for one that this library does not handle. */
export function dtypeOfCode(code: number): DType {
  const name = NAMES.get(code);
  if (name === undefined) throw new EngineError(`Element type ${code} of libtorch is not supported here.`);
  return name;
}

/** Bytes of one element. */
export function bytesPerElement(dtype: DType): number {
  return BYTES[dtype];
}

/**
 * A tensor of libtorch. Operators are methods with PyTorch's names (generated); this file adds what is not an
 * operator: shape and type, moving data in and out, gradients, freeing.
 *
 * A tensor made inside a {@link scope} is freed at its end unless returned. One made outside lives until
 * `dispose()`, with the garbage collector as a backstop only.
 */
import { bytesPerElement, type DType, dtypeCode, dtypeOfCode } from './dtype.js';
import { TensorMethods } from './generated/methods.js';
import { native } from './native.js';
import { setTensorClass } from './wrap.js';

/** Arrays that hold a tensor's elements in JavaScript. */
export type TypedArray =
  | Float32Array
  | Float64Array
  | BigInt64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint8Array;

export class Tensor extends TensorMethods {
  #shape: readonly number[] | undefined;
  #dtype: DType | undefined;

  /** Sizes of the dimensions. */
  get shape(): readonly number[] {
    this.#shape ??= Object.freeze(native.sizes(this.handle));
    return this.#shape;
  }

  get dtype(): DType {
    this.#dtype ??= dtypeOfCode(native.scalarType(this.handle));
    return this.#dtype;
  }

  /** `cpu` or `cuda:N`. */
  get device(): string {
    return native.device(this.handle);
  }

  /** Number of elements. */
  get numel(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }

  /** Whether autograd records what happens to it. */
  get requiresGrad(): boolean {
    return native.requiresGrad(this.handle);
  }

  /** Whether its elements lie in order without gaps. */
  get isContiguous(): boolean {
    return native.isContiguous(this.handle);
  }

  /** The gradient that backward accumulated into this leaf, or null. A new handle at each read. */
  get grad(): Tensor | null {
    const handle = native.getGrad(this.handle);
    return handle === 0 ? null : new Tensor(handle);
  }

  /** Sets where backward accumulates: a tensor of the same shape, dtype and device, or null. */
  set grad(gradient: Tensor | null) {
    native.setGrad(this.handle, gradient === null ? null : gradient.handle);
  }

  /** The one element as a number. Throws when there are several. */
  item(): number {
    return native.item(this.handle);
  }

  /** All elements in row-major order; bfloat16 and float16 arrive as float32, bool as 0 and 1. */
  toArray(): TypedArray {
    const half = this.dtype === 'bfloat16' || this.dtype === 'float16';
    const bytes = (half ? this.to({ dtype: 'float32' }) : this).bytes();
    return viewAs(bytes, half ? 'float32' : this.dtype);
  }

  /** All elements in row-major order as numbers. int64 beyond 2^53 loses precision. */
  toNumbers(): number[] {
    return Array.from(this.toArray() as ArrayLike<number | bigint>, Number);
  }

  /** A copy of the elements' bytes in row-major order, little-endian. */
  bytes(): Uint8Array {
    const into = new Uint8Array(this.numel * bytesPerElement(this.dtype));
    native.beginScope();
    try {
      native.readBytes(this.to({ device: 'cpu' }).contiguous().handle, 0, into);
    } finally {
      native.endScope([]);
    }
    return into;
  }

  /** Copies bytes from `offset` on out of a contiguous CPU tensor. */
  readBytes(offset: number, into: Uint8Array): void {
    native.readBytes(this.handle, offset, into);
  }

  /** Copies bytes into a contiguous CPU tensor at `offset`. */
  writeBytes(offset: number, from: Uint8Array): void {
    native.writeBytes(this.handle, offset, from);
  }

  /** Frees the tensor now. Using it afterwards is an error; freeing it again is not. */
  dispose(): void {
    native.free(this.handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

setTensorClass(Tensor);

function viewAs(bytes: Uint8Array, dtype: DType): TypedArray {
  const { buffer } = bytes;
  switch (dtype) {
    case 'float32':
      return new Float32Array(buffer);
    case 'float64':
      return new Float64Array(buffer);
    case 'int64':
      return new BigInt64Array(buffer);
    case 'int32':
      return new Int32Array(buffer);
    case 'int16':
      return new Int16Array(buffer);
    case 'int8':
      return new Int8Array(buffer);
    default:
      return bytes;
  }
}

function dtypeOf(data: TypedArray): DType {
  if (data instanceof Float32Array) return 'float32';
  if (data instanceof Float64Array) return 'float64';
  if (data instanceof BigInt64Array) return 'int64';
  if (data instanceof Int32Array) return 'int32';
  if (data instanceof Int16Array) return 'int16';
  if (data instanceof Int8Array) return 'int8';
  return 'uint8';
}

/**
 * A tensor with a copy of `data`.
 *
 * @param data elements in row-major order; plain numbers become float32 unless `dtype` says otherwise
 * @param shape sizes whose product is the number of elements; default one dimension
 * @param options `dtype` to convert to, `device` to move to
 * @throws TorchValueError when shape and data do not fit
 */
export function tensor(
  data: TypedArray | readonly number[],
  shape: readonly number[] = [data.length],
  options: { dtype?: DType; device?: string } = {},
): Tensor {
  const source = isTypedArray(data) ? data : Float64Array.from(data);
  const sourceType = dtypeOf(source);
  const wanted = options.dtype ?? (isTypedArray(data) ? sourceType : 'float32');
  const made = new Tensor(native.fromBytes(source, shape, dtypeCode(sourceType)));
  const device = options.device ?? 'cpu';
  if (wanted === sourceType && device === 'cpu') return made;
  const converted = made.to({ dtype: wanted, device });
  made.dispose();
  return converted;
}

/**
 * A CPU tensor over a copy of raw little-endian bytes.
 *
 * @throws TorchValueError when `bytes` is not exactly `shape` elements of `dtype`
 */
export function fromBytes(bytes: Uint8Array, shape: readonly number[], dtype: DType): Tensor {
  return new Tensor(native.fromBytes(bytes, shape, dtypeCode(dtype)));
}

function isTypedArray(data: TypedArray | readonly number[]): data is TypedArray {
  return ArrayBuffer.isView(data);
}

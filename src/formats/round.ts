/**
 * Floating-point numbers of one type as those of another, rounded once to the nearest, ties to even: without
 * libtorch, and piece by piece. In between stand the bits of float32, which holds bfloat16 and float16 exactly.
 */
import { DTYPE_BYTES, type SafetensorsDtype } from './safetensors-header.js';

/** Types that weights have. */
const FLOAT_TYPES = ['F32', 'BF16', 'F16', 'F64'] as const;
export type FloatType = (typeof FLOAT_TYPES)[number];

/** Types that weights can be rounded to. */
export type TargetType = Exclude<FloatType, 'F64'>;

/** Whether weights may be kept in this type. */
export function isFloatType(dtype: SafetensorsDtype): dtype is FloatType {
  return (FLOAT_TYPES as readonly string[]).includes(dtype);
}

/** Converts bytes of whole elements, little-endian; the result is overwritten by the next call. */
export type Rounder = (bytes: Uint8Array) => Uint8Array;

/**
 * A function that turns bytes of type `from` into bytes of type `to`.
 *
 * @param overflow called with the number of the element, counted within its piece, for a finite value that is
 * infinite in the new type
 */
export function makeRounder(from: FloatType, to: TargetType, overflow: (index: number) => void): Rounder {
  if (from === to) return (bytes) => bytes;
  if (DTYPE_BYTES[from] === 2 && DTYPE_BYTES[to] === 2) return makeLookup(from, to, overflow);
  let bits = new Int32Array(0);
  let out = new Uint8Array(0);
  return (bytes) => {
    const count = bytes.length / DTYPE_BYTES[from];
    if (bits.length < count) {
      bits = new Int32Array(count);
      out = new Uint8Array(count * DTYPE_BYTES[to]);
    }
    // Only numbers that are rounded a second time need the mark of the first rounding.
    widen[from](bytes, bits, count, to !== 'F32');
    const lost = narrow[to](bits, out, count, bytes);
    if (lost >= 0) overflow(lost);
    return out.subarray(0, count * DTYPE_BYTES[to]);
  };
}

/** Set in a table where a finite number has become infinite. */
const LOST = 1 << 16;

/** Of 65,536 numbers each is rounded once, and then looked up. */
function makeLookup(from: FloatType, to: TargetType, overflow: (index: number) => void): Rounder {
  const all = Uint16Array.from({ length: 1 << 16 }, (_, number) => number);
  const bits = new Int32Array(all.length);
  const rounded = new Uint16Array(all.length);
  widen[from](new Uint8Array(all.buffer), bits, all.length, true);
  const infinite = to === 'F16' ? 0x7c00 : 0x7f80;
  narrow[to](bits, new Uint8Array(rounded.buffer), all.length, new Uint8Array(0));
  const table = Int32Array.from(rounded, (value, number) => {
    const lost = (value & 0x7fff) === infinite && (bits[number]! & 0x7fffffff) !== INFINITE;
    return lost ? value | LOST : value;
  });
  let out = new Uint16Array(0);
  return (bytes) => {
    const values = halves(bytes);
    if (out.length < values.length) out = new Uint16Array(values.length);
    if (lookUp(values, table, out)) {
      overflow(values.findIndex((value) => (table[value]! & LOST) !== 0));
    }
    return new Uint8Array(out.buffer, 0, bytes.length);
  };
}

/** Whether any number was lost. */
function lookUp(values: Uint16Array, table: Int32Array, out: Uint16Array): boolean {
  const count = values.length;
  let any = 0;
  for (let i = 0; i < count; i++) {
    const value = table[values[i]!]!;
    any |= value;
    out[i] = value;
  }
  return (any & LOST) !== 0;
}

const halves = (bytes: Uint8Array) => aligned(bytes, Uint16Array);

/** A view of bytes as numbers; a copy where they do not begin at a multiple of the number's size. */
function aligned<T extends Uint16Array | Int32Array | Float64Array>(
  bytes: Uint8Array,
  type: { new (buffer: ArrayBufferLike, offset: number, length: number): T; BYTES_PER_ELEMENT: number },
): T {
  const size = type.BYTES_PER_ELEMENT;
  const own = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return new type(own.buffer, own.byteOffset, own.length / size);
}

/** The bits of float32's infinity; numbers are below, what is not a number above. */
const INFINITE = 0x7f800000;

/** Into the bits of float32. */
const widen: Record<FloatType, (bytes: Uint8Array, bits: Int32Array, count: number, odd: boolean) => void> = {
  F32: (bytes, bits) => bits.set(aligned(bytes, Int32Array)),
  BF16: (bytes, bits, count) => {
    const values = halves(bytes);
    for (let i = 0; i < count; i++) bits[i] = values[i]! << 16;
  },
  F16: (bytes, bits, count) => {
    const values = halves(bytes);
    const table = halfTable();
    for (let i = 0; i < count; i++) bits[i] = table[values[i]!]!;
  },
  F64: (bytes, bits, count, odd) => {
    const values = aligned(bytes, Float64Array);
    const floats = new Float32Array(bits.buffer);
    for (let i = 0; i < count; i++) {
      const value = values[i]!;
      floats[i] = value;
      // Rounding to nearest twice is not rounding to nearest. Rounding to odd first leaves the mark that the
      // second rounding needs: toward zero, then the last bit set where anything was lost.
      if (odd && floats[i] !== value && Number.isFinite(value)) {
        if (Math.abs(floats[i]!) > Math.abs(value)) bits[i]! -= 1;
        bits[i]! |= 1;
      }
    }
  },
};

/** From the bits of float32; gives the first element that was finite and is not, or -1. */
const narrow: Record<
  TargetType,
  (bits: Int32Array, out: Uint8Array, count: number, source: Uint8Array) => number
> = {
  F32: (bits, out, count, source) => {
    new Int32Array(out.buffer).set(bits.subarray(0, count));
    if (source.length !== 8 * count) return -1;
    const before = aligned(source, Float64Array);
    for (let i = 0; i < count; i++) {
      if ((bits[i]! & INFINITE) === INFINITE && Number.isFinite(before[i])) return i;
    }
    return -1;
  },
  BF16: (bits, out, count) => {
    const values = new Uint16Array(out.buffer);
    let lost = -1;
    for (let i = 0; i < count; i++) {
      const size = bits[i]! & 0x7fffffff;
      const sign = (bits[i]! >>> 16) & 0x8000;
      // What is not a number must not become infinite.
      const rounded = size > INFINITE ? (size >>> 16) | 0x40 : (size + 0x7fff + ((size >>> 16) & 1)) >>> 16;
      values[i] = sign | rounded;
      if (rounded === 0x7f80 && size !== INFINITE && lost < 0) lost = i;
    }
    return lost;
  },
  F16: (bits, out, count) => {
    const values = new Uint16Array(out.buffer);
    let lost = -1;
    for (let i = 0; i < count; i++) {
      const size = bits[i]! & 0x7fffffff;
      const sign = (bits[i]! >>> 16) & 0x8000;
      const half = halfOf(size);
      values[i] = sign | half;
      if (half === 0x7c00 && size !== INFINITE && lost < 0) lost = i;
    }
    return lost;
  },
};

/** The bits of float16 for those of a float32 that is not negative. */
function halfOf(size: number): number {
  if (size > INFINITE) return 0x7e00;
  if (size >= 0x47800000) return 0x7c00; // 65,536 and more
  // Below 2^-14 the spacing is 2^-24 throughout.
  if (size < 0x38800000) return subnormal(size);
  // The exponent's bias is 112 less; what rounds up to 65,536 becomes infinite by itself.
  return (size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13;
}

const one = new Float32Array(1);
const oneBits = new Uint32Array(one.buffer);

/** `size` / 2^-24, rounded to an even whole number. */
function subnormal(size: number): number {
  oneBits[0] = size;
  const scaled = one[0]! * 2 ** 24;
  const below = Math.floor(scaled);
  const rest = scaled - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

let table: Int32Array | null = null;

/** Bits of float32 for every float16. */
function halfTable(): Int32Array {
  if (table !== null) return table;
  const values = new Float32Array(1 << 16);
  const bits = new Int32Array(values.buffer);
  for (let half = 0; half < 1 << 16; half++) {
    const [sign, exponent, fraction] = [half >>> 15, (half >>> 10) & 31, half & 1023];
    const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    if (exponent < 31) values[half] = sign === 1 ? -size : size;
    else bits[half] = (sign << 31) | INFINITE | (fraction << 13);
  }
  table = bits;
  return table;
}

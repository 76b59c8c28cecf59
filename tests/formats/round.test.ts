/** Rounding between types against libtorch, which rounds to the nearest, ties to even. */
import { describe, expect, it } from 'vitest';
import { type FloatType, makeRounder } from '../../src/formats/round.js';
import * as torch from '../../src/torch/index.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();

const DTYPES = { F32: 'float32', BF16: 'bfloat16', F16: 'float16', F64: 'float64' } as const;

function fail(): never {
  throw new Error('overflow');
}

/** The bytes that libtorch makes of them. */
function byTorch(bytes: Uint8Array, count: number, from: FloatType, to: FloatType): Uint8Array {
  return torch.scope(() => torch.fromBytes(bytes, [count], DTYPES[from]).to({ dtype: DTYPES[to] }).bytes());
}

const bytesOf = (list: Float32Array | Float64Array | Uint16Array | Uint32Array) =>
  new Uint8Array(list.buffer, list.byteOffset, list.byteLength);
const allHalves = Uint16Array.from({ length: 1 << 16 }, (_, i) => i);

/** Bit patterns of float32 around everything that is special, and some at random. */
function patterns(): Uint32Array {
  const list: number[] = [];
  let state = 1;
  for (let exponent = 0; exponent < 256; exponent++) {
    for (const fraction of [
      0, 1, 0x0fff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x3001, 0x7fff, 0x8000, 0x8001, 0x18000, 0x7fffff,
    ]) {
      list.push((exponent << 23) | fraction, (0x80000000 | (exponent << 23) | fraction) >>> 0);
    }
    for (let i = 0; i < 40; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      list.push(((state & 0x807fffff) | (exponent << 23)) >>> 0);
    }
  }
  return Uint32Array.from(list);
}

/** Equal but for what is not a number, which must stay so. */
function expectSame(found: Uint8Array, expected: Uint8Array, to: 'F32' | 'BF16' | 'F16'): void {
  const bits = (bytes: Uint8Array) =>
    to === 'F32' ? new Uint32Array(bytes.slice().buffer) : new Uint16Array(bytes.slice().buffer);
  const infinite = { F32: 0x7f800000, BF16: 0x7f80, F16: 0x7c00 }[to];
  const size = (value: number) => value & (to === 'F32' ? 0x7fffffff : 0x7fff);
  const [a, b] = [bits(found), bits(expected)];
  expect(a.length).toBe(b.length);
  const wrong = a.findIndex((value, i) =>
    size(b[i]!) > infinite ? size(value) <= infinite : value !== b[i],
  );
  expect(wrong, `${a[wrong]?.toString(16)} for ${b[wrong]?.toString(16)}`).toBe(-1);
}

describe('is what libtorch does', () => {
  it.each(['F16', 'BF16'] as const)('for every %s in float32, and back', (from) => {
    const wide = makeRounder(from, 'F32', fail)(bytesOf(allHalves)).slice();
    expectSame(wide, byTorch(bytesOf(allHalves), allHalves.length, from, 'F32'), 'F32');
    let lost = 0;
    const back = makeRounder('F32', from, () => {
      lost += 1;
    })(wide);
    expectSame(back, bytesOf(allHalves), from);
    expect(lost).toBe(0);
  });

  it.each(['F16', 'BF16'] as const)('from float32 to %s', (to) => {
    const list = patterns();
    let lost = 0;
    const round = makeRounder('F32', to, () => {
      lost += 1;
    });
    expectSame(round(bytesOf(list)), byTorch(bytesOf(list), list.length, 'F32', to), to);
    expect(lost).toBe(1);
  });

  it('between the two halves, through float32', () => {
    const round = makeRounder('F16', 'BF16', fail);
    expectSame(
      round(bytesOf(allHalves)),
      byTorch(bytesOf(allHalves), allHalves.length, 'F16', 'BF16'),
      'BF16',
    );
  });

  it('from float64 to float32', () => {
    const list = Float64Array.from({ length: 2000 }, (_, i) => Math.sin(i) * 10 ** ((i % 90) - 45));
    expectSame(makeRounder('F64', 'F32', () => {})(bytesOf(list)), bytesOf(Float32Array.from(list)), 'F32');
  });
});

it('from float64 rounds once, not twice', () => {
  // A hair above the middle between 1 and its neighbour: float32 would put it on the middle, which goes to even.
  const of = (value: number, to: 'BF16' | 'F16') =>
    new Uint16Array(makeRounder('F64', to, fail)(bytesOf(Float64Array.of(value))).slice().buffer)[0];
  expect(of(1 + 2 ** -8, 'BF16')).toBe(0x3f80);
  expect(of(1 + 2 ** -8 + 2 ** -40, 'BF16')).toBe(0x3f81);
  expect(of(-1 - 2 ** -8 - 2 ** -40, 'BF16')).toBe(0xbf81);
  expect(of(1 + 3 * 2 ** -8 - 2 ** -40, 'BF16')).toBe(0x3f81);
  expect(of(1 + 2 ** -11 + 2 ** -40, 'F16')).toBe(0x3c01);
});

it.each([
  ['F32', 'F16', bytesOf(Float32Array.of(1, 65519.99, 65520))],
  ['BF16', 'F16', bytesOf(Uint16Array.of(0x3f80, 0x7f80, 0x4780))],
  ['F32', 'BF16', bytesOf(Float32Array.of(1, 3.3e38, 3.4e38))],
  ['F64', 'F32', bytesOf(Float64Array.of(1, 3.4e38, 1e39))],
] as const)('tells which number of %s is too large for %s', (from, to, bytes) => {
  let lost = -1;
  makeRounder(from, to, (index) => {
    lost = index;
  })(bytes);
  expect(lost).toBe(2);
});

it('takes bytes that begin anywhere', () => {
  const shifted = new Uint8Array(9);
  shifted.set(bytesOf(Float32Array.of(1.5, -2)), 1);
  const halves = makeRounder('F32', 'BF16', fail)(shifted.subarray(1)).slice();
  expect([...new Uint16Array(halves.buffer)]).toEqual([0x3fc0, 0xc000]);
});

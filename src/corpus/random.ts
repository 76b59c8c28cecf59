/**
 * Random numbers for data order: a function of a key and a counter and of nothing else, integers only, so the
 * same on every machine and needing no history. The generator is Philox4x32-10 (Salmon et al. 2011).
 */
import { createHash } from 'node:crypto';

/** High and low 32 bits of a * b, by 16-bit halves: a double cannot hold the product of two uint32. */
function multiply(a: number, b: number): [high: number, low: number] {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const cross = aLow * bHigh + (middle % 0x10000);
  return [
    (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(cross / 0x10000)) >>> 0,
    Math.imul(a, b) >>> 0,
  ];
}

/** One block of Philox4x32-10: four uint32 of counter and two of key give four uint32. */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply(0xd2511f53, c0);
    const [high1, low1] = multiply(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** A stream of uniform integers that follows from its name alone. */
export class Random {
  readonly #key: readonly [number, number];
  #block = 0;
  #words: number[] = [];

  /** @param name what the numbers are for, e.g. `(seed, 'rows', epoch)`: other names, independent streams. */
  constructor(...name: readonly (string | number)[]) {
    const digest = createHash('sha256').update(name.join('\0')).digest();
    this.#key = [digest.readUInt32LE(0), digest.readUInt32LE(4)];
  }

  /** The next integer of 0 .. 2^32 - 1. */
  uint32(): number {
    if (this.#words.length === 0) {
      const b = this.#block++;
      this.#words = philox([b >>> 0, Math.floor(b / 2 ** 32), 0, 0], this.#key).reverse();
    }
    return this.#words.pop()!;
  }

  /** The next integer of 0 .. n - 1, without bias; n at most 2^32. */
  below(n: number): number {
    const limit = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const x = this.uint32();
      if (x < limit) return x % n;
    }
  }

  /** The next number of [0, 1), 53 bits. */
  uniform(): number {
    const high = this.uint32() >>> 5;
    return (high * 0x4000000 + (this.uint32() >>> 6)) / 2 ** 53;
  }

  /** 0 .. n - 1 in random order (Fisher-Yates). */
  permutation(n: number): Int32Array {
    const order = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const kept = order[i]!;
      order[i] = order[j]!;
      order[j] = kept;
    }
    return order;
  }
}

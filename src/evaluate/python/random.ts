/**
 * Python's random.Random, number for number: the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998) seeded by
 * array, and the ways in which Python draws from it. The harness chooses few-shot examples and resamples with it.
 */

const N = 624;
const M = 397;

export class PythonRandom {
  readonly #state = new Uint32Array(N);
  #next = N;

  /** random.Random(seed). @param seed a whole number; its sign is ignored, as in Python */
  constructor(seed: number) {
    const key: number[] = [];
    let rest = BigInt(Math.abs(seed));
    do {
      key.push(Number(rest & 0xffffffffn));
      rest >>= 32n;
    } while (rest > 0n);
    this.#seed(key);
  }

  #seed(key: readonly number[]): void {
    const state = this.#state;
    state[0] = 19650218;
    for (let i = 1; i < N; i++) state[i] = Math.imul(1812433253, this.#folded(i - 1)) + i;
    let i = 1;
    let j = 0;
    const advance = (): void => {
      if (++i < N) return;
      state[0] = state[N - 1]!;
      i = 1;
    };
    for (let k = Math.max(N, key.length); k > 0; k--) {
      state[i] = (state[i]! ^ Math.imul(this.#folded(i - 1), 1664525)) + key[j]! + j;
      j = (j + 1) % key.length;
      advance();
    }
    for (let k = N - 1; k > 0; k--) {
      state[i] = (state[i]! ^ Math.imul(this.#folded(i - 1), 1566083941)) - i;
      advance();
    }
    state[0] = 0x80000000;
  }

  #folded(i: number): number {
    const word = this.#state[i]!;
    return word ^ (word >>> 30);
  }

  #twist(): void {
    const state = this.#state;
    for (let i = 0; i < N; i++) {
      const y = (state[i]! & 0x80000000) | (state[(i + 1) % N]! & 0x7fffffff);
      state[i] = state[(i + M) % N]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }

  /** The next 32 bits. */
  uint32(): number {
    if (this.#next >= N) this.#twist();
    let y = this.#state[this.#next++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** random(): the next number of [0, 1), 53 bits. */
  random(): number {
    const high = this.uint32() >>> 5;
    return (high * 0x4000000 + (this.uint32() >>> 6)) / 0x20000000000000;
  }

  /** randrange(n), n below 2^32: as many bits as n has, drawn again until they are below n. */
  below(n: number): number {
    const shift = Math.clz32(n);
    let drawn: number;
    do drawn = this.uint32() >>> shift;
    while (drawn >= n);
    return drawn;
  }

  /**
   * sample(range(n), count): distinct numbers below n. Python picks from a shrinking list where n is small, and
   * draws until it has not seen a number where it is large.
   */
  sample(n: number, count: number): number[] {
    const setSize = 21 + (count > 5 ? 4 ** Math.ceil(Math.log(count * 3) / Math.log(4)) : 0);
    if (n <= setSize) {
      const pool = Array.from({ length: n }, (_, i) => i);
      return Array.from({ length: count }, (_, i) => {
        const j = this.below(n - i);
        const picked = pool[j]!;
        pool[j] = pool[n - i - 1]!;
        return picked;
      });
    }
    const seen = new Set<number>();
    while (seen.size < count) seen.add(this.below(n));
    return [...seen];
  }
}

/**
 * XXH64 with seed 0, of which Zstandard stores the low 32 bits as its checksum. 64-bit numbers are pairs of 32 bits,
 * [low, high]: BigInt would take twenty times as long as the decompression.
 */

// Primes of XXH64 as low and high halves.
const P1L = 0x85ebca87;
const P1H = 0x9e3779b1;
const P2L = 0x27d4eb4f;
const P2H = 0xc2b2ae3d;
const P3L = 0x9e3779f9;
const P3H = 0x165667b1;
const P4L = 0xc2b2ae63;
const P4H = 0x85ebca77;
const P5L = 0x165667c5;
const P5H = 0x27d4eb2f;

/** The low half of the last result; the high half is what the functions return it beside. */
let low = 0;
let high = 0;

/** low, high = a * b modulo 2^64. */
function multiply(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  const a0 = aLow & 0xffff;
  const a1 = aLow >>> 16;
  const b0 = bLow & 0xffff;
  const b1 = bLow >>> 16;
  const p00 = a0 * b0;
  const middle = a1 * b0 + (p00 >>> 16);
  const second = (middle & 0xffff) + a0 * b1;
  const carry = a1 * b1 + (middle >>> 16) + (second >>> 16);
  low = (second << 16) | (p00 & 0xffff) | 0;
  high = (carry + Math.imul(aLow, bHigh) + Math.imul(aHigh, bLow)) | 0;
}

/** low, high = a + b modulo 2^64. */
function add(aLow: number, aHigh: number, bLow: number, bHigh: number): void {
  const sum = (aLow >>> 0) + (bLow >>> 0);
  low = sum | 0;
  high = (aHigh + bHigh + (sum > 0xffffffff ? 1 : 0)) | 0;
}

/** low, high = the last result turned left by `bits`, 0 < bits < 32. */
function rotate(bits: number): void {
  const l = low;
  low = (l << bits) | (high >>> (32 - bits));
  high = (high << bits) | (l >>> (32 - bits));
}

/** low, high ^= themselves shifted right by `bits`. */
function xorShift(bits: number): void {
  if (bits >= 32) low ^= high >>> (bits - 32);
  else {
    low ^= (low >>> bits) | (high << (32 - bits));
    high ^= high >>> bits;
  }
}

/** low, high = round(accumulator, input). */
function round(accLow: number, accHigh: number, inLow: number, inHigh: number): void {
  multiply(inLow, inHigh, P2L, P2H);
  add(low, high, accLow, accHigh);
  rotate(31);
  multiply(low, high, P1L, P1H);
}

/** The hash of bytes that come in pieces. */
export class XxHash64 {
  /** Four accumulators, low and high halves. */
  readonly #acc = new Int32Array(8);
  readonly #held = Buffer.alloc(32);
  #heldBytes = 0;
  #size = 0;

  constructor() {
    add(P1L, P1H, P2L, P2H);
    this.#acc.set([low, high, P2L, P2H, 0, 0], 0);
    // 0 - P1
    add(~P1L, ~P1H, 1, 0);
    this.#acc.set([low, high], 6);
  }

  /** Takes the next bytes. */
  update(bytes: Buffer): void {
    this.#size += bytes.length;
    let at = 0;
    if (this.#heldBytes > 0) {
      at = Math.min(32 - this.#heldBytes, bytes.length);
      bytes.copy(this.#held, this.#heldBytes, 0, at);
      this.#heldBytes += at;
      if (this.#heldBytes < 32) return;
      this.#stripes(this.#held, 0, 32);
      this.#heldBytes = 0;
    }
    const end = at + ((bytes.length - at) & ~31);
    this.#stripes(bytes, at, end);
    this.#heldBytes = bytes.copy(this.#held, 0, end);
  }

  #stripes(bytes: Buffer, start: number, end: number): void {
    const acc = this.#acc;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = start; at < end; at += 32) {
      for (let lane = 0; lane < 4; lane++) {
        const i = 2 * lane;
        const from = at + 8 * lane;
        round(acc[i]!, acc[i + 1]!, view.getInt32(from, true), view.getInt32(from + 4, true));
        acc[i] = low;
        acc[i + 1] = high;
      }
    }
  }

  /** The low 32 bits of the hash of all bytes so far. */
  low(): number {
    const acc = this.#acc;
    if (this.#size < 32) add(P5L, P5H, 0, 0);
    else {
      let sumLow = 0;
      let sumHigh = 0;
      for (const [lane, bits] of [1, 7, 12, 18].entries()) {
        low = acc[2 * lane]!;
        high = acc[2 * lane + 1]!;
        rotate(bits);
        add(low, high, sumLow, sumHigh);
        sumLow = low;
        sumHigh = high;
      }
      for (let lane = 0; lane < 4; lane++) {
        round(0, 0, acc[2 * lane]!, acc[2 * lane + 1]!);
        multiply(low ^ sumLow, high ^ sumHigh, P1L, P1H);
        add(low, high, P4L, P4H);
        sumLow = low;
        sumHigh = high;
      }
    }
    add(low, high, this.#size | 0, Math.floor(this.#size / 2 ** 32));
    this.#rest();
    xorShift(33);
    multiply(low, high, P2L, P2H);
    xorShift(29);
    multiply(low, high, P3L, P3H);
    xorShift(32);
    return low >>> 0;
  }

  /** Mixes the bytes that fill no stripe into low, high. */
  #rest(): void {
    let at = 0;
    for (; at + 8 <= this.#heldBytes; at += 8) {
      const [l, h] = [low, high];
      round(0, 0, this.#held.readInt32LE(at), this.#held.readInt32LE(at + 4));
      low ^= l;
      high ^= h;
      rotate(27);
      multiply(low, high, P1L, P1H);
      add(low, high, P4L, P4H);
    }
    if (at + 4 <= this.#heldBytes) {
      const [l, h] = [low, high];
      multiply(this.#held.readInt32LE(at), 0, P1L, P1H);
      low ^= l;
      high ^= h;
      rotate(23);
      multiply(low, high, P2L, P2H);
      add(low, high, P3L, P3H);
      at += 4;
    }
    for (; at < this.#heldBytes; at++) {
      const [l, h] = [low, high];
      multiply(this.#held[at]!, 0, P5L, P5H);
      low ^= l;
      high ^= h;
      rotate(11);
      multiply(low, high, P1L, P1H);
    }
  }
}

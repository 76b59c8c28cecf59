/** An independent reader of TensorBoard event files, from the description of their format. */
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';

/** CRC-32C bit by bit, from its definition. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

const masked = (bytes: Uint8Array): number => {
  const crc = BigInt(crc32c(bytes));
  return Number((((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn);
};

/** The fields of a protobuf message by number: whole numbers, or bytes of whatever else. */
function fields(bytes: Buffer): [number, number | Buffer][] {
  const found: [number, number | Buffer][] = [];
  let at = 0;
  const whole = (): number => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
    }
  };
  while (at < bytes.length) {
    const key = whole();
    const type = key & 7;
    if (type === 0) {
      found.push([key >> 3, whole()]);
      continue;
    }
    const length = type === 1 ? 8 : type === 5 ? 4 : whole();
    found.push([key >> 3, bytes.subarray(at, at + length)]);
    at += length;
  }
  return found;
}

/** The events of a file, checksums verified. */
export function readEvents(path: string) {
  const bytes = readFileSync(path);
  const events: { step: number; version?: string; start?: boolean; scalars: Record<string, number> }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(bytes.readUInt32LE(at + 8)).toBe(masked(bytes.subarray(at, at + 8)));
    const data = bytes.subarray(at + 12, at + 12 + length);
    expect(bytes.readUInt32LE(at + 12 + length)).toBe(masked(data));
    at += length + 16;
    const message = new Map(fields(data));
    expect((message.get(1) as Buffer).readDoubleLE()).toBeGreaterThan(1.7e9);
    const event: (typeof events)[number] = { step: message.get(2) as number, scalars: {} };
    if (message.has(3)) event.version = (message.get(3) as Buffer).toString();
    if (message.has(7)) event.start = new Map(fields(message.get(7) as Buffer)).get(1) === 1;
    for (const [, value] of message.has(5) ? fields(message.get(5) as Buffer) : []) {
      const entry = new Map(fields(value as Buffer));
      event.scalars[(entry.get(1) as Buffer).toString()] = (entry.get(2) as Buffer).readFloatLE();
    }
    events.push(event);
  }
  return events;
}

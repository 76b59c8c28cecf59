/**
 * TensorBoard event files: TFRecords of Event messages with scalars, and nothing else of their format.
 *
 * A record is length (uint64), masked CRC-32C of the length, data, masked CRC-32C of the data, all little-endian.
 * Fields of the messages by number: Event { wall_time 1, step 2, file_version 3, summary 5, session_log 7 },
 * Summary { value 1 }, Value { tag 1, simple_value 2 }, SessionLog { status 1 (START = 1) }.
 */
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { systemFailure } from './system-failure.js';

const CASTAGNOLI = 0x82f63b78;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? CASTAGNOLI : 0);
  return remainder;
});

/** CRC-32C, masked as in TFRecord so that a checksum of data with checksums in it is no weaker. */
function maskedCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

function record(data: Buffer): Buffer {
  const framed = Buffer.alloc(data.length + 16);
  framed.writeBigUInt64LE(BigInt(data.length), 0);
  framed.writeUInt32LE(maskedCrc(framed.subarray(0, 8)), 8);
  data.copy(framed, 12);
  framed.writeUInt32LE(maskedCrc(data), 12 + data.length);
  return framed;
}

/** A whole number as protobuf writes it: seven bits a byte, the lowest first. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

const WHOLE = 0;
const DOUBLE = 1;
const BYTES = 2;
const FLOAT = 5;

function field(number: number, type: number, content: Buffer): Buffer {
  const key = varint((number << 3) | type);
  return Buffer.concat(type === BYTES ? [key, varint(content.length), content] : [key, content]);
}

function float(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

function event(step: number, content: Buffer): Buffer {
  const time = Buffer.alloc(8);
  time.writeDoubleLE(Date.now() / 1000);
  return record(Buffer.concat([field(1, DOUBLE, time), field(2, WHOLE, varint(step)), content]));
}

/** Appends scalars to one event file. */
export class TensorBoardWriter {
  readonly path: string;
  #descriptor: number | null;

  /**
   * Begins a file of its own in `folder`, which TensorBoard shows as one run.
   * @param attempt number of the attempt, from 1: names the file, so that files sort in the order of attempts
   * @param step the first step that will be written: what earlier attempts wrote from there on is not shown
   */
  constructor(folder: string, attempt: number, step: number) {
    const began = String(Math.floor(Date.now() / 1000)).padStart(10, '0');
    this.path = join(folder, `events.out.tfevents.${began}.${String(attempt).padStart(6, '0')}.moe-disco`);
    try {
      mkdirSync(folder, { recursive: true });
      this.#descriptor = openSync(this.path, 'a', 0o644);
    } catch (error) {
      throw systemFailure(error, this.path, 'write');
    }
    this.#write(event(0, field(3, BYTES, Buffer.from('brain.Event:2'))));
    this.#write(event(step, field(7, BYTES, field(1, WHOLE, varint(1)))));
  }

  /**
   * Appends one event with a scalar for each tag. Values are kept as float32.
   * @param step whole, 0 or more
   */
  append(step: number, scalars: Readonly<Record<string, number>>): void {
    const values = Object.entries(scalars).map(([tag, value]) =>
      field(
        1,
        BYTES,
        Buffer.concat([field(1, BYTES, Buffer.from(tag, 'utf8')), field(2, FLOAT, float(value))]),
      ),
    );
    this.#write(event(step, field(5, BYTES, Buffer.concat(values))));
  }

  close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
  }

  #write(bytes: Buffer): void {
    if (this.#descriptor === null) throw new Error(`${this.path} is closed`);
    try {
      const written = writeSync(this.#descriptor, bytes);
      // A short write means a full disk; writing the rest says so.
      if (written < bytes.length) writeSync(this.#descriptor, bytes, written);
    } catch (error) {
      throw systemFailure(error, this.path, 'write');
    }
  }
}

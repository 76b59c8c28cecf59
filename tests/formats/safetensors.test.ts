import { createHash } from 'node:crypto';
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DataError } from '../../src/errors.js';
import {
  DTYPE_BYTES,
  type SafetensorsDtype,
  SafetensorsReader,
  type TensorSource,
  writeSafetensors,
} from '../../src/formats/safetensors.js';

const golden = join(import.meta.dirname, '../golden/formats');
let folder: string;
let file: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'safetensors-'));
  file = join(folder, 'x.safetensors');
});
afterAll(() => rmSync(folder, { recursive: true }));

function source(
  name: string,
  dtype: SafetensorsDtype,
  shape: number[],
  bytes: Uint8Array,
  pieces = 1,
): TensorSource {
  return {
    name,
    dtype,
    shape,
    write(sink) {
      const step = Math.max(1, Math.ceil(bytes.length / pieces));
      for (let at = 0; at < bytes.length; at += step) sink(bytes.subarray(at, at + step));
    },
  };
}

/** A file with this header text and so many bytes of data. */
function craft(header: string | Uint8Array, dataBytes = 0, length?: bigint): string {
  const json = typeof header === 'string' ? Buffer.from(header) : header;
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(json.length));
  writeFileSync(file, Buffer.concat([prefix, json, Buffer.alloc(dataBytes)]));
  return file;
}

function refusal(path: string): DataError {
  try {
    SafetensorsReader.open(path).close();
  } catch (error) {
    if (error instanceof DataError) return error;
    throw error;
  }
  throw new Error('the file was accepted');
}

describe('against the library of Hugging Face', () => {
  const expected = JSON.parse(readFileSync(join(golden, 'types.json'), 'utf8')) as {
    tensors: Record<string, { shape: number[]; hex: string }>;
  };
  const path = join(golden, 'types.safetensors');

  it('reads every type', () => {
    const reader = SafetensorsReader.open(path);
    expect(reader.metadata).toEqual({ format: 'pt' });
    expect([...reader.names].sort()).toEqual(Object.keys(expected.tensors).sort());
    for (const [name, { shape, hex }] of Object.entries(expected.tensors)) {
      expect(reader.info(name).shape).toEqual(shape);
      expect(Buffer.from(reader.read(name)).toString('hex')).toBe(hex);
    }
    reader.close();
  });

  it('writes the same bytes', async () => {
    const reader = SafetensorsReader.open(path);
    const sources = reader.names.map((name) => {
      const { dtype, shape } = reader.info(name);
      return source(name, dtype, shape, reader.read(name));
    });
    const record = await writeSafetensors(file, sources);
    reader.close();
    const bytes = readFileSync(file);
    expect(bytes.equals(readFileSync(path))).toBe(true);
    expect(record).toEqual({
      name: 'x.safetensors',
      size: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    });
  });
});

describe('round trip', () => {
  const dtypes = Object.keys(DTYPE_BYTES) as SafetensorsDtype[];
  const tensor = fc
    .record({
      name: fc.oneof(
        fc.string({ unit: 'binary', maxLength: 12 }),
        fc.constantFrom('0', '7', '__proto__', 'constructor'),
      ),
      dtype: fc.constantFrom(...dtypes),
      shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
      pieces: fc.integer({ min: 1, max: 4 }),
      seed: fc.integer({ min: 0, max: 255 }),
    })
    .map((t) => {
      const count = t.shape.reduce((product, length) => product * length, 1);
      const bytes = Uint8Array.from(
        { length: count * DTYPE_BYTES[t.dtype] },
        (_, i) => (i * 31 + t.seed) % 256,
      );
      return { ...t, bytes };
    });

  it('gives back names, types, shapes and bytes, aligned to the element', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(tensor, { selector: (t) => t.name, maxLength: 8 }), async (tensors) => {
        const sources = tensors.map((t) => source(t.name, t.dtype, t.shape, t.bytes, t.pieces));
        await writeSafetensors(file, sources, { metadata: { seed: '7' } });
        const reader = SafetensorsReader.open(file);
        try {
          expect(reader.metadata).toEqual({ format: 'pt', seed: '7' });
          expect([...reader.names].sort()).toEqual(tensors.map((t) => t.name).sort());
          for (const t of tensors) {
            const info = reader.info(t.name);
            expect([info.dtype, info.shape, info.bytes]).toEqual([t.dtype, t.shape, t.bytes.length]);
            expect(info.offset % DTYPE_BYTES[t.dtype]).toBe(0);
            expect(Buffer.from(reader.read(t.name)).equals(t.bytes)).toBe(true);
            const middle = Math.floor(t.bytes.length / 2);
            const into = new Uint8Array(t.bytes.length + 3);
            const part = reader.read(t.name, into, middle);
            expect(Buffer.from(part).equals(t.bytes.subarray(middle))).toBe(true);
            expect(part.buffer).toBe(into.buffer);
          }
        } finally {
          reader.close();
        }
      }),
      { numRuns: 60 },
    );
  });

  it('keeps the given order among equally wide types', async () => {
    const bytes = new Uint8Array(4);
    await writeSafetensors(
      file,
      ['z', 'a', '5', 'm'].map((name) => source(name, 'F32', [1], bytes)),
    );
    const reader = SafetensorsReader.open(file);
    expect(reader.names).toEqual(['z', 'a', '5', 'm']);
    reader.close();
  });

  it('refuses equal names and a tensor of the wrong length, and leaves nothing behind', async () => {
    rmSync(file, { force: true });
    const one = source('a', 'F32', [1], new Uint8Array(4));
    await expect(writeSafetensors(file, [one, one])).rejects.toThrow('same name');
    await expect(writeSafetensors(file, [source('a', 'F32', [1], new Uint8Array(8))])).rejects.toThrow(
      '4 bytes more',
    );
    await expect(writeSafetensors(file, [source('a', 'F32', [2 ** 51, 4], bytesOf(0))])).rejects.toThrow(
      'valid size',
    );
    expect(readdirSync(folder)).toEqual([]);
  });
});

function bytesOf(length: number): Uint8Array {
  return new Uint8Array(length);
}

describe('hostile files', () => {
  const entry = (begin: number, end: number | bigint, rest = '"dtype":"U8","shape":[4]') =>
    `{${rest},"data_offsets":[${begin},${end}]}`;

  it.each<[string, string | Uint8Array, number, string]>([
    ['text after the object', '{} x', 0, 'not JSON'],
    ['not JSON', 'pickle!!', 0, 'not JSON'],
    ['not UTF-8', Uint8Array.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 0, 'UTF-8'],
    ['a byte order mark', '\ufeff{}', 0, 'not JSON'],
    ['a list', '[]', 0, 'not a JSON object'],
    ['leading space', '  {}', 0, 'not a JSON object'],
    ['an entry that is no object', '{"a":7}', 0, 'not an object'],
    [
      'an unknown field',
      `{"a":${entry(0, 4, '"dtype":"U8","shape":[4],"stride":[1]')}}`,
      4,
      'unknown field stride',
    ],
    ['an unknown dtype', `{"a":${entry(0, 4, '"dtype":"Q4","shape":[4]')}}`, 4, 'dtype'],
    ['a dtype from the prototype', `{"a":${entry(0, 4, '"dtype":"toString","shape":[4]')}}`, 4, 'dtype'],
    ['a negative length', `{"a":${entry(0, 4, '"dtype":"U8","shape":[-4]')}}`, 4, 'shape'],
    ['a fractional length', `{"a":${entry(0, 4, '"dtype":"U8","shape":[0.5,8]')}}`, 4, 'shape'],
    [
      'a shape whose product overflows',
      `{"a":${entry(0, 0, '"dtype":"U8","shape":[4294967296,4294967296]')}}`,
      0,
      'too large',
    ],
    [
      'an overflow hidden by a zero',
      `{"a":${entry(0, 0, '"dtype":"F64","shape":[9007199254740991,9007199254740991,0]')}}`,
      0,
      'too large',
    ],
    ['an offset beyond 2^53', `{"a":${entry(0, 18446744073709551615n)}}`, 4, 'data_offsets'],
    ['one offset', '{"a":{"dtype":"U8","shape":[4],"data_offsets":[4]}}', 4, 'data_offsets'],
    ['offsets that do not fit the shape', `{"a":${entry(0, 3)}}`, 3, 'do not fit'],
    ['offsets the wrong way round', `{"a":${entry(4, 0)}}`, 4, 'do not fit'],
    ['an overlap', `{"a":${entry(0, 4)},"b":${entry(2, 6)}}`, 6, 'overlaps'],
    ['the same place twice', `{"a":${entry(0, 4)},"b":${entry(0, 4)}}`, 4, 'overlaps'],
    ['a hole', `{"a":${entry(0, 4)},"b":${entry(5, 9)}}`, 9, 'hole'],
    ['a hole at the start', `{"a":${entry(1, 5)}}`, 5, 'hole'],
    ['data behind the last tensor', `{"a":${entry(0, 4)}}`, 5, 'behind its last tensor'],
    ['data without a tensor', '{}', 1, 'behind its last tensor'],
    ['too little data', `{"a":${entry(0, 4)}}`, 3, 'truncated'],
    ['a name twice', `{"a":${entry(0, 4)},"\\u0061":${entry(4, 8)}}`, 8, 'a is named twice'],
    [
      'a field twice',
      `{"a":${entry(0, 4, '"dtype":"F32","dtype":"U8","shape":[4]')}}`,
      4,
      'dtype is named twice',
    ],
    ['metadata that is no map of strings', '{"__metadata__":{"epoch":3}}', 0, 'map of strings'],
  ])('%s', (_, header, dataBytes, message) => {
    const error = refusal(craft(header, dataBytes));
    expect(error.message).toContain(message);
    expect(error.file).toBe(file);
  });

  it('names the tensor, what was expected and what was found', () => {
    const error = refusal(craft(`{"model.norm.weight":${entry(0, 4)}}`, 3));
    expect(error).toMatchObject({ key: 'model.norm.weight', exitStatus: 2 });
    expect(error.expected).toMatch(/at least \d+ bytes/);
    expect(error.found).toMatch(/^\d+ bytes$/);
  });

  it('never allocates what a header length claims', () => {
    expect(refusal(craft('{}', 0, 2n ** 63n)).message).toContain('header would be too long');
    expect(refusal(craft('{}', 0, 100_000_001n)).message).toContain('header would be too long');
    expect(refusal(craft('{}', 0, 99_999_999n)).message).toContain('truncated within its header');
  });

  it('empty and missing files', () => {
    writeFileSync(file, '');
    expect(refusal(file).message).toContain('truncated');
    expect(refusal(join(folder, 'none')).message).toContain('not found');
  });

  it('a good file cut anywhere, or with a byte more, is refused', async () => {
    await writeSafetensors(file, [source('a', 'F32', [3], bytesOf(12)), source('b', 'U8', [5], bytesOf(5))]);
    const whole = readFileSync(file);
    for (let length = 0; length < whole.length; length += 1) {
      truncateSync(file, length);
      refusal(file);
      writeFileSync(file, whole);
    }
    appendFileSync(file, 'x');
    refusal(file);
  });

  it('a file that shrinks while it is read', async () => {
    await writeSafetensors(file, [source('a', 'F32', [3], bytesOf(12))]);
    const reader = SafetensorsReader.open(file);
    truncateSync(file, 100);
    expect(() => reader.read('a')).toThrow(DataError);
    expect(() => reader.read('b')).toThrow('has no tensor b');
    expect(() => reader.read('a', undefined, 8, 8)).toThrow(RangeError);
    reader.close();
  });

  it('a value nested deeper than any stack', () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    expect(refusal(craft(`{"a":{"dtype":${deep}}}`)).message).toContain('levels deep');
    expect(refusal(craft(deep)).message).toContain('levels deep');
  });

  it('mutated files are refused, or read as what lies in them', async () => {
    await writeSafetensors(
      file,
      [
        source('a', 'F32', [64], bytesOf(256)),
        source('b', 'U8', [5], bytesOf(5)),
        source('c', 'F16', [2, 0], bytesOf(0)),
      ],
      { metadata: { seed: '7' } },
    );
    const whole = readFileSync(file);
    const place = fc.nat({ max: whole.length - 1 });
    // Digits, quotes and brackets make other headers; other bytes mostly make no JSON.
    const byte = fc.oneof(
      fc.integer({ min: 0, max: 255 }),
      fc.constantFrom(...Buffer.from('0123456789[]{},:\\"')),
    );
    const mutation = fc.oneof(
      fc.record({ kind: fc.constant('set' as const), at: place, byte }),
      fc.record({ kind: fc.constant('insert' as const), at: place, byte }),
      fc.record({ kind: fc.constant('remove' as const), at: place, byte }),
      fc.record({ kind: fc.constant('double' as const), at: place, byte }),
      fc.record({ kind: fc.constant('cut' as const), at: place, byte }),
    );
    let read = 0;
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 3 }), (mutations) => {
        const damaged = [...whole];
        for (const { kind, at, byte: value } of mutations) {
          if (kind === 'set') damaged[at] = value;
          else if (kind === 'insert') damaged.splice(at, 0, value);
          else if (kind === 'remove') damaged.splice(at, 1);
          else if (kind === 'double') damaged.splice(at, 0, ...damaged.slice(at, at + 8));
          else damaged.length = Math.min(damaged.length, at);
        }
        const bytes = Buffer.from(damaged);
        writeFileSync(file, bytes);
        let reader: SafetensorsReader;
        try {
          reader = SafetensorsReader.open(file);
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
          expect((error as DataError).file).toBe(file);
          return;
        }
        read += 1;
        let end = 8 + Number(bytes.readBigUInt64LE());
        for (const name of reader.names) {
          const { offset, bytes: length, dtype, shape } = reader.info(name);
          expect(offset).toBe(end);
          expect(length).toBe(shape.reduce((product, size) => product * size, DTYPE_BYTES[dtype]));
          expect(Buffer.from(reader.read(name)).equals(bytes.subarray(offset, offset + length))).toBe(true);
          end += length;
        }
        expect(end).toBe(bytes.length);
        reader.close();
      }),
      { numRuns: 300 },
    );
    expect(read).toBeGreaterThan(10);
  });
});

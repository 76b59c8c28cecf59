/**
 * The strings of a Parquet data page, for columns that are no lists. hyparquet's own page readers take counts and
 * runs on trust, so that a page of a few bytes may ask for all memory there is; here nothing grows beyond the page.
 */
import { crc32 } from 'node:zlib';
import type { parquetHeader } from 'hyparquet/src/column.js';
import { deltaBinaryUnpack } from 'hyparquet/src/delta.js';
import { decompressPage } from './parquet-codecs.js';

/** A page is held whole; the usual ones have 1 MB, those of some writers the whole row group. */
const MAX_PAGE = 2 ** 29;

export type PageHeader = ReturnType<typeof parquetHeader>;

/** How the pages of a column are stored. */
export interface PageCodec {
  codec: string;
  /** The definition level of a value that is there; lower ones are null. */
  defined: number;
}

/** A place in a page. */
class Cursor {
  readonly view: DataView;
  offset = 0;

  constructor(readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  take(length: number): Uint8Array {
    if (!(length >= 0 && this.offset + length <= this.bytes.length))
      throw new Error('a page that is cut off');
    const taken = this.bytes.subarray(this.offset, this.offset + length);
    this.offset += length;
    return taken;
  }

  /** Unsigned LEB128 of at most 32 bits. */
  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.view.getUint8(this.offset++);
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new Error('a number of more than 32 bits');
  }
}

/** @throws Error where the sizes of a page cannot be true, or its checksum, if it has one, is another. */
export function checkPage(header: PageHeader, bytes: Uint8Array): void {
  const { uncompressed_page_size: size, crc } = header;
  if (!(size >= 0 && size <= MAX_PAGE)) throw new Error(`a page of ${size} bytes`);
  if (crc !== undefined && crc >>> 0 !== crc32(bytes)) throw new Error('a page whose checksum is another');
}

/**
 * The strings of a dictionary page.
 * @throws Error where it is damaged
 */
export async function dictionaryOf(
  header: PageHeader,
  bytes: Uint8Array,
  { codec }: PageCodec,
): Promise<Uint8Array[]> {
  const page = await decompressPage(codec, bytes, header.uncompressed_page_size);
  return plainStrings(new Cursor(page), header.dictionary_page_header?.num_values ?? -1);
}

/**
 * Rows of a page, which is one row's value each; null for a page that is none of data.
 * @throws Error where a data page has none of the headers it must have
 */
export function rowsOf({ type, ...header }: PageHeader): number | null {
  if (type !== 'DATA_PAGE' && type !== 'DATA_PAGE_V2') return null;
  const own = type === 'DATA_PAGE' ? header.data_page_header : header.data_page_header_v2;
  if (own === undefined) throw new Error('a page without its header');
  return own.num_values;
}

/**
 * The strings of a data page, one for each of its {@link rowsOf}; null where there is none.
 * @throws Error where it is damaged, or encoded in a way that strings are not
 */
export async function stringsOf(
  header: PageHeader,
  bytes: Uint8Array,
  { codec, defined }: PageCodec,
  dictionary: readonly Uint8Array[],
): Promise<(Uint8Array | null)[]> {
  const two = header.type === 'DATA_PAGE' ? undefined : header.data_page_header_v2;
  const { num_values: count, encoding } = (two ?? header.data_page_header)!;
  let levels: Int32Array | null = null;
  let page: Cursor;
  if (two === undefined) {
    page = new Cursor(await decompressPage(codec, bytes, header.uncompressed_page_size));
    if (defined > 0) {
      const length = page.view.getUint32(page.offset, true);
      page.offset += 4;
      levels = hybrid(new Cursor(page.take(length)), bitsOf(defined), count);
    }
  } else {
    const before = new Cursor(bytes);
    before.take(two.repetition_levels_byte_length);
    const stored = before.take(two.definition_levels_byte_length);
    if (defined > 0) levels = hybrid(new Cursor(stored), bitsOf(defined), count);
    const rest = bytes.subarray(before.offset);
    const size = header.uncompressed_page_size - before.offset;
    page = new Cursor(two.is_compressed === false ? rest : await decompressPage(codec, rest, size));
  }
  const present = levels?.reduce((sum, level) => sum + (level === defined ? 1 : 0), 0) ?? count;
  const values = valuesOf(page, encoding, present, dictionary);
  if (levels === null) return values;
  let at = 0;
  return Array.from(levels, (level) => (level === defined ? values[at++]! : null));
}

/** The `count` strings that follow in a page. */
function valuesOf(
  page: Cursor,
  encoding: string,
  count: number,
  dictionary: readonly Uint8Array[],
): Uint8Array[] {
  switch (encoding) {
    case 'PLAIN':
      return plainStrings(page, count);
    case 'PLAIN_DICTIONARY':
    case 'RLE_DICTIONARY': {
      if (count === 0) return [];
      const bits = page.view.getUint8(page.offset++);
      if (bits > 32) throw new Error(`indices of ${bits} bits`);
      return Array.from(hybrid(page, bits, count), (index) => {
        const value = dictionary[index];
        if (value === undefined) throw new Error('an index outside of the dictionary');
        return value;
      });
    }
    case 'DELTA_LENGTH_BYTE_ARRAY':
      return Array.from(deltas(page, count), (length) => page.take(length));
    case 'DELTA_BYTE_ARRAY':
      return sharedPrefixes(page, count);
    default:
      throw new Error(`the encoding ${encoding} of strings`);
  }
}

/** Strings with their lengths in front (PLAIN). */
function plainStrings(page: Cursor, count: number): Uint8Array[] {
  if (!(count >= 0 && 4 * count <= page.bytes.length)) throw new Error(`${count} strings in a smaller page`);
  return Array.from({ length: count }, () => {
    const length = page.view.getUint32(page.offset, true);
    page.offset += 4;
    return page.take(length);
  });
}

/** Strings of which each has a prefix in common with the one before (DELTA_BYTE_ARRAY). */
function sharedPrefixes(page: Cursor, count: number): Uint8Array[] {
  const prefixes = deltas(page, count);
  const suffixes = deltas(page, count);
  let before: Uint8Array = new Uint8Array(0);
  let total = 0;
  return Array.from(prefixes, (prefix, i) => {
    const suffix = page.take(suffixes[i]!);
    if (!(prefix >= 0 && prefix <= before.length)) throw new Error('a prefix longer than the string before');
    total += prefix + suffix.length;
    if (total > MAX_PAGE) throw new Error(`a page of more than ${MAX_PAGE} bytes`);
    before = prefix === 0 ? suffix : Buffer.concat([before.subarray(0, prefix), suffix]);
    return before;
  });
}

/** Whole numbers as differences (DELTA_BINARY_PACKED). */
function deltas(page: Cursor, count: number): Int32Array {
  const output = new Int32Array(count);
  if (count === 0) return output;
  // With these no block is empty, so that the unpacking always goes forward.
  const head = new Cursor(page.bytes);
  head.offset = page.offset;
  const block = head.varint();
  const parts = head.varint();
  if (!(parts > 0 && block % (32 * parts) === 0 && block > 0 && block <= 2 ** 16)) {
    throw new Error(`blocks of ${block} numbers in ${parts} parts`);
  }
  deltaBinaryUnpack(page, count, output);
  return output;
}

function bitsOf(largest: number): number {
  return 32 - Math.clz32(largest);
}

/** `count` numbers of `bits` bits in runs and packed groups (the RLE / bit-packing hybrid). */
function hybrid(page: Cursor, bits: number, count: number): Int32Array {
  const output = new Int32Array(count);
  const width = Math.ceil(bits / 8);
  for (let seen = 0; seen < count; ) {
    const header = page.varint();
    if ((header & 1) === 0) {
      const length = header / 2;
      let value = 0;
      for (const [i, byte] of page.take(width).entries()) value |= byte << (8 * i);
      if (length === 0) throw new Error('a run of nothing');
      output.fill(value, seen, Math.min(count, seen + length));
      seen += length;
    } else {
      const groups = Math.floor(header / 2);
      // The last group may be cut off behind the last number.
      const packed = page.take(Math.min(groups * bits, page.bytes.length - page.offset));
      const length = Math.min(count - seen, groups * 8);
      if (length === 0 || packed.length * 8 < length * bits) throw new Error('a page that is cut off');
      unpack(packed, bits, output, seen, length);
      seen += length;
    }
  }
  return output;
}

/** Numbers of `bits` bits, the lowest bits first. */
function unpack(packed: Uint8Array, bits: number, output: Int32Array, start: number, length: number): void {
  for (let i = 0, bit = 0; i < length; i++) {
    let value = 0;
    for (let done = 0; done < bits; ) {
      const free = 8 - (bit & 7);
      const some = Math.min(free, bits - done);
      value |= ((packed[bit >> 3]! >> (bit & 7)) & ((1 << some) - 1)) << done;
      done += some;
      bit += some;
    }
    output[start + i] = value;
  }
}

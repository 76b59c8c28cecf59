/**
 * The header of a safetensors file: 8 bytes of length, then JSON that names every tensor with dtype, shape and
 * place. Headers come from strangers: nothing in them is believed before it is checked.
 */
import { DataError } from '../errors.js';
import { findJsonFault } from './json-text.js';

/** Bytes of one element, by the names safetensors uses. */
export const DTYPE_BYTES = {
  F64: 8,
  I64: 8,
  F32: 4,
  I32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

export type SafetensorsDtype = keyof typeof DTYPE_BYTES;

/** A tensor's type and place; `offset` counts from the start of the file, both in bytes. */
export interface TensorInfo {
  dtype: SafetensorsDtype;
  shape: number[];
  offset: number;
  bytes: number;
}

/** The format's own limit on the header's length. */
export const MAX_HEADER_BYTES = 100_000_000;

/**
 * Bytes that a tensor takes, or null when dtype or shape is not valid or the product leaves the safe integers.
 */
export function tensorBytes(dtype: SafetensorsDtype, shape: readonly number[]): number | null {
  let bytes: number = DTYPE_BYTES[dtype];
  for (const length of shape) {
    if (!Number.isSafeInteger(length) || length < 0) return null;
    bytes *= length;
    if (!Number.isSafeInteger(bytes)) return null;
  }
  return bytes;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function parseEntry(file: string, name: string, value: unknown): { info: TensorInfo; begin: number } {
  const refuse = (message: string, expected: string, found: unknown): never => {
    throw new DataError(`Tensor ${name}: ${message}`, { file, key: name, expected, found: show(found) });
  };
  if (!isRecord(value)) return refuse('its entry is not an object', '{dtype, shape, data_offsets}', value);
  for (const key of Object.keys(value)) {
    if (!['dtype', 'shape', 'data_offsets'].includes(key))
      refuse(`unknown field ${key}`, 'dtype, shape, data_offsets', key);
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPE_BYTES, dtype)) {
    return refuse('its dtype is not supported', Object.keys(DTYPE_BYTES).join(', '), dtype);
  }
  const isLength = (length: unknown): length is number =>
    Number.isSafeInteger(length) && (length as number) >= 0;
  if (!Array.isArray(shape) || !shape.every(isLength)) {
    return refuse('its shape is not a list of lengths', 'whole numbers >= 0', shape);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isLength)) {
    return refuse('its data_offsets are not two offsets', '[begin, end]', offsets);
  }
  const bytes = tensorBytes(dtype as SafetensorsDtype, shape);
  if (bytes === null) return refuse('its shape is too large', 'less than 2^53 bytes', shape);
  const [begin, end] = offsets as [number, number];
  if (end - begin !== bytes) {
    refuse('its data_offsets do not fit its shape', `${bytes} bytes for ${dtype} ${show(shape)}`, offsets);
  }
  return { info: { dtype: dtype as SafetensorsDtype, shape, offset: begin, bytes }, begin };
}

function parseMetadata(file: string, value: unknown): Record<string, string> {
  if (!isRecord(value) || !Object.values(value).every((entry) => typeof entry === 'string')) {
    throw new DataError('The metadata of the file is not a map of strings.', {
      file,
      key: '__metadata__',
      expected: 'an object whose values are strings',
      found: show(value),
    });
  }
  return Object.assign(Object.create(null), value) as Record<string, string>;
}

/**
 * Checks a header against the file it came from. `header` is the JSON's bytes, `fileBytes` the file's length.
 * The tensors must cover the data exactly, without holes or overlaps.
 * @returns tensors in the order in which they lie in the file, and the metadata.
 * @throws DataError naming file and tensor.
 */
export function parseHeader(
  file: string,
  header: Uint8Array,
  fileBytes: number,
): { tensors: Map<string, TensorInfo>; metadata: Record<string, string> } {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header);
    value = JSON.parse(text);
  } catch (error) {
    throw new DataError('The header of the safetensors file is not JSON in UTF-8.', {
      file,
      key: 'header',
      found: (error as Error).message,
      cause: error,
    });
  }
  const fault = findJsonFault(text);
  if (fault !== null) throw new DataError(`${fault.message} in the header.`, { file, key: fault.key });
  if (!isRecord(value) || !text.startsWith('{')) {
    throw new DataError('The header of the safetensors file is not a JSON object.', {
      file,
      key: 'header',
      found: show(value),
    });
  }

  const dataStart = 8 + header.length;
  let metadata: Record<string, string> = Object.create(null);
  const entries: { name: string; begin: number; info: TensorInfo }[] = [];
  for (const [name, entry] of Object.entries(value)) {
    if (name === '__metadata__') metadata = parseMetadata(file, entry);
    else entries.push({ name, ...parseEntry(file, name, entry) });
  }
  entries.sort((a, b) => a.begin - b.begin || a.info.bytes - b.info.bytes);

  const tensors = new Map<string, TensorInfo>();
  const available = fileBytes - dataStart;
  let end = 0;
  for (const { name, begin, info } of entries) {
    if (begin !== end) {
      throw new DataError(`Tensor ${name} ${begin < end ? 'overlaps another' : 'leaves a hole before it'}.`, {
        file,
        key: name,
        expected: `data_offsets from ${end}`,
        found: String(begin),
      });
    }
    end = begin + info.bytes;
    if (end > available) {
      throw new DataError(
        `The safetensors file is truncated: tensor ${name} ends behind the end of the file.`,
        {
          file,
          key: name,
          expected: `at least ${dataStart + end} bytes`,
          found: `${fileBytes} bytes`,
        },
      );
    }
    tensors.set(name, { ...info, offset: dataStart + begin });
  }
  if (end !== available) {
    throw new DataError('The safetensors file has bytes behind its last tensor.', {
      file,
      expected: `${dataStart + end} bytes`,
      found: `${fileBytes} bytes`,
    });
  }
  return { tensors, metadata };
}

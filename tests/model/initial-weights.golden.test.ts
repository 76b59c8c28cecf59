/** Initial weights bit for bit against a separate implementation in Python (tests/golden/make_init.py). */
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { readJson } from '../../src/formats/atomic.js';
import { initialKey } from '../../src/model/initial-weights.js';
import type { DType } from '../../src/torch/index.js';
import * as torch from '../../src/torch/index.js';
import { expectNoLeaks } from '../torch/leaks.js';

const stream = z.object({
  seed: z.number(),
  name: z.string(),
  key: z.string(),
  standard: z.array(z.string()),
  float32: z.array(z.string()),
  bfloat16: z.array(z.string()),
});
const { deviation, streams } = readJson(
  fileURLToPath(new URL('../golden/init/values.json', import.meta.url)),
  z.looseObject({ deviation: z.number(), streams: z.array(stream) }),
);

/** The bits of `count` drawn values, in big-endian hexadecimal as in the golden file. */
function drawn(key: Uint8Array, count: number, std: number, dtype: DType): string[] {
  const bytes = torch.scope(() => {
    const values = torch.zeros([count], { dtype });
    torch.initNormal_(values, key, 0, std);
    return { bytes: values.bytes() };
  }).bytes;
  const size = bytes.length / count;
  return Array.from({ length: count }, (_, i) =>
    Buffer.from(bytes.subarray(i * size, (i + 1) * size).toReversed()).toString('hex'),
  );
}

expectNoLeaks();

test('a thousand values are stored', () => {
  expect(streams.reduce((sum, { standard }) => sum + standard.length, 0)).toBe(1000);
});

describe.each(streams)('seed $seed, $name', (expected) => {
  const key = initialKey(expected.seed, expected.name);

  test('key', () => {
    expect(Buffer.from(key).toString('hex')).toBe(expected.key);
  });

  test.each([
    ['float64', 1, expected.standard],
    ['float32', deviation, expected.float32],
    ['bfloat16', deviation, expected.bfloat16],
  ] as const)('%s', (dtype, std, bits) => {
    expect(drawn(key, bits.length, std, dtype)).toEqual(bits);
  });
});

test('values depend neither on the number of threads nor on the number of elements', () => {
  const { seed, name, float32 } = streams[0]!;
  const key = initialKey(seed, name);
  const threads = torch.getNumThreads();
  try {
    torch.setNumThreads(1);
    const one = drawn(key, 20_000, deviation, 'float32');
    torch.setNumThreads(4);
    expect(drawn(key, 20_000, deviation, 'float32')).toEqual(one);
    expect(one.slice(0, float32.length)).toEqual(float32);
  } finally {
    torch.setNumThreads(threads);
  }
});

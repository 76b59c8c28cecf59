/**
 * No call of a generated wrapper may crash the process: every operator is called with arguments of its schema's
 * types and with wrong ones, with freed and invented handles, holes, NaN, huge numbers and indices out of range.
 * A crash ends the test process, which fails the test. The seed is printed; DISCO_FUZZ_ROUNDS asks for more.
 */
import { describe, expect, it } from 'vitest';
import { camelCase } from '../../src/torch/generate.js';
import * as torch from '../../src/torch/index.js';
import { native } from '../../src/torch/native.js';
import { OPERATORS } from '../../src/torch/operators.js';
import { parseSchema, type SchemaArgument } from '../../src/torch/schema.js';

const ROUNDS = Number(process.env.DISCO_FUZZ_ROUNDS ?? 40);
const SEED = Number(process.env.DISCO_FUZZ_SEED ?? Date.now() % 2 ** 31);

function mulberry(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
const random = mulberry(SEED);
const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;

// Sizes in between would only exhaust the machine's memory, which is the one thing that may fail. Under
// AddressSanitizer (DISCO_FUZZ_HUGE=0) huge ones are left out: its `new` ends the process where the ordinary throws.
const HUGE = process.env.DISCO_FUZZ_HUGE === '0' ? [] : [1e300, 2 ** 53, 2 ** 62, -(2 ** 63), 1e16];
const NUMBERS = [0, 1, 2, 3, 4, 5, -1, -2, -7, 0.5, Number.NaN, Infinity, -Infinity, ...HUGE];
const SHAPES = [[], [0], [1], [3], [2, 3], [3, 3], [0, 2], [2, 3, 3], [1, 2, 3, 3], [2, 2, 3, 4]];
const DTYPES = ['float32', 'float64', 'bfloat16', 'float16', 'int64', 'int32', 'uint8', 'bool'] as const;

function anyTensor(): unknown {
  const roll = random();
  if (roll < 0.04) {
    const freed = torch.zeros([2]);
    freed.dispose();
    return freed;
  }
  if (roll < 0.07) return { handle: pick([0, 1, -1, 1.5, 2 ** 27, Number.NaN, 'x', 2 ** 60]) };
  const shape = pick(SHAPES);
  const count = shape.reduce((a, b) => a * b, 1);
  const values = Array.from({ length: count }, () => pick([0, 1, 2, -1, 5, 100, 0.3]));
  const made = torch.tensor(values.map(Math.trunc), shape).to({ dtype: pick(DTYPES) });
  const dims = shape.length;
  return dims >= 2 && random() < 0.2 ? made.transpose(0, dims - 1) : made;
}

function garbage(): unknown {
  return pick<() => unknown>([
    () => undefined,
    () => null,
    () => 'text',
    () => true,
    () => ({}),
    () => [],
    () => Object.assign(new Array(3), { 0: 1, 2: 3 }),
    () => [null],
    () => ['a'],
    () => [anyTensor(), null, undefined],
    () => pick(NUMBERS),
    () => anyTensor(),
    () => Symbol.iterator,
    () => 10n,
    () => () => 1,
    () => Array.from({ length: 70_000 }, () => 1),
  ])();
}

function argument({ type }: SchemaArgument): unknown {
  if (random() < 0.12) return garbage();
  if (type.endsWith('?') && random() < 0.3) return null;
  const base = type.replace(/\?$/, '').replace('SymInt', 'int');
  if (base === 'Tensor') return anyTensor();
  if (base.startsWith('Tensor')) return Array.from({ length: pick([0, 1, 2, 3]) }, anyTensor);
  if (/^(int|float)\[/.test(base)) return Array.from({ length: pick([0, 1, 2, 3, 4]) }, () => pick(NUMBERS));
  if (base === 'bool') return pick([true, false]);
  if (base === 'str') return pick(['', 'none', 'gesvd', 'x'.repeat(1000)]);
  if (base === 'ScalarType') return pick([...DTYPES, 'complex64', '']);
  if (base === 'Device') return pick(['cpu', 'cuda:0', 'meta', 'cuda:99', 'nowhere', '', 'cpu:-5']);
  return pick(NUMBERS);
}

describe(`fuzz, seed ${SEED}`, () => {
  it.each(OPERATORS.map((entry) => entry.name))('%s', (name) => {
    const entry = OPERATORS.find((x) => x.name === name)!;
    const before = torch.liveTensors();
    for (const overload of entry.overloads) {
      const schema = parseSchema(native.operatorSchema(`aten::${name}`, overload)!);
      const isMethod = schema.arguments[0]?.name === 'self' && schema.arguments[0].type === 'Tensor';
      for (let round = 0; round < ROUNDS; round++) {
        torch.scope(() => {
          const positional: unknown[] = [];
          const options: Record<string, unknown> = {};
          for (const x of schema.arguments.slice(isMethod ? 1 : 0)) {
            if (x.keywordOnly || x.fallback !== undefined) {
              if (random() < 0.5 || x.fallback === undefined) options[camelCase(x.name)] = argument(x);
            } else positional.push(argument(x));
          }
          const values = random() < 0.05 ? [] : [...positional, ...(random() < 0.9 ? [options] : [])];
          try {
            const key = camelCase(name);
            if (isMethod) {
              const self = anyTensor() as Record<string, (...x: unknown[]) => unknown>;
              const method = torch.Tensor.prototype[key as keyof torch.Tensor] as unknown as (
                ...x: unknown[]
              ) => unknown;
              method.apply(self, values);
            } else (torch as unknown as Record<string, (...x: unknown[]) => unknown>)[key]!(...values);
          } catch (error) {
            expect(error).toBeInstanceOf(Error);
          }
        });
      }
    }
    expect(torch.liveTensors()).toBe(before);
  });
});

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { camelCase, generateWrappers } from '../../src/torch/generate.js';
import { version } from '../../src/torch/index.js';
import { native } from '../../src/torch/native.js';
import { OPERATORS } from '../../src/torch/operators.js';

const file = (name: string) =>
  readFileSync(new URL(`../../src/torch/generated/${name}`, import.meta.url), 'utf8');

/** The libtorch whose schemas the committed wrappers were made from. */
const PINNED = '2.15.0';

describe('generated wrappers', () => {
  it.runIf(version() === PINNED)('are what the table and the pinned schemas give', () => {
    const made = generateWrappers(OPERATORS, (name, overload) => native.operatorSchema(name, overload)!);
    expect(made.methods).toBe(file('methods.ts'));
    expect(made.functions).toBe(file('functions.ts'));
  });

  it('have camelCase names that keep the underscore of in-place operators', () => {
    expect(['add_', '_fused_adamw_', 'log1p', 'scaled_dot_product_attention'].map(camelCase)).toEqual([
      'add_',
      'fusedAdamw_',
      'log1p',
      'scaledDotProductAttention',
    ]);
  });
});

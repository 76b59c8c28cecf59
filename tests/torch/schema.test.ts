import { describe, expect, it } from 'vitest';
import { assertCompatible, parseSchema } from '../../src/torch/schema.js';

const ADD = 'aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor';

describe('parseSchema', () => {
  it('reads names, types, defaults and keyword-only arguments', () => {
    const schema = parseSchema(ADD);
    expect([schema.name, schema.overload, schema.returns]).toEqual(['aten::add', 'Tensor', ['Tensor']]);
    expect(schema.arguments.map((x) => [x.name, x.type, x.fallback, x.keywordOnly])).toEqual([
      ['self', 'Tensor', undefined, false],
      ['other', 'Tensor', undefined, false],
      ['alpha', 'Scalar', '1', true],
    ]);
  });

  it('reads alias marks, lists with defaults and several results', () => {
    const schema = parseSchema(
      'aten::x(Tensor(a!)[] self, Tensor(b -> *) y, int[2]? dim=[0, 1]) -> (Tensor(a!) values, Tensor[] rest)',
    );
    expect(schema.arguments.map((x) => [x.type, x.mutated, x.fallback])).toEqual([
      ['Tensor[]', true, undefined],
      ['Tensor', false, undefined],
      ['int[2]?', false, '[0, 1]'],
    ]);
    expect(schema.returns).toEqual(['Tensor', 'Tensor[]']);
  });
});

describe('assertCompatible', () => {
  const wanted = parseSchema(ADD);

  it('accepts arguments appended with a default, and SymInt for int', () => {
    const appended =
      'aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1, bool new=False) -> Tensor';
    expect(() => assertCompatible(wanted, appended, '9.9')).not.toThrow();
    const view = parseSchema('aten::view(Tensor(a) self, SymInt[] size) -> Tensor(a)');
    expect(() =>
      assertCompatible(view, 'aten::view(Tensor(a) self, int[] size) -> Tensor(a)', '9.9'),
    ).not.toThrow();
  });

  it.each([
    ['is missing', null],
    [
      'has an argument more without a default',
      'aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1, bool n) -> Tensor',
    ],
    ['has another type', 'aten::add.Tensor(Tensor self, Scalar other, *, Scalar alpha=1) -> Tensor'],
    ['has another order', 'aten::add.Tensor(Tensor other, Tensor self, *, Scalar alpha=1) -> Tensor'],
    [
      'returns something else',
      'aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> (Tensor, Tensor)',
    ],
  ])('names an operator that %s', (_, found) => {
    expect(() => assertCompatible(wanted, found, '9.9')).toThrow(
      /9\.9.*aten::add\.Tensor|9\.9 has another aten::add/,
    );
  });
});

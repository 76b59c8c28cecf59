import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { DataError } from '../../src/errors.js';
import { JsonlWriter, readJsonl, truncateJsonlAfter } from '../../src/formats/jsonl.js';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'jsonl-'));
  path = join(folder, 'deep', 'metrics.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(...values: unknown[]): void {
  const writer = new JsonlWriter(path);
  for (const value of values) writer.append(value);
  writer.sync();
  writer.close();
}

it('appends across writers; a missing file has no lines', () => {
  expect(readJsonl(path)).toEqual([]);
  write({ step: 1, text: 'two\nlines \u2028 é' });
  write({ step: 2 });
  expect(readJsonl(path)).toEqual([{ step: 1, text: 'two\nlines \u2028 é' }, { step: 2 }]);
});

it('a kill at any byte of the last line loses that line only, and the next writer goes on behind it', () => {
  write({ step: 1 }, { step: 2, é: 1 });
  const whole = readFileSync(path);
  const first = whole.indexOf('\n') + 1;
  for (let length = first; length < whole.length; length += 1) {
    writeFileSync(path, whole.subarray(0, length));
    expect(readJsonl(path)).toEqual([{ step: 1 }]);
    write({ step: 3 });
    expect(readJsonl(path)).toEqual([{ step: 1 }, { step: 3 }]);
  }
});

it('a broken line in the middle is an error that names it', () => {
  write({ step: 1 });
  appendFileSync(path, '{"step":\n{"step":3}\n');
  try {
    readJsonl(path);
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(DataError);
    expect(error).toMatchObject({ file: path, key: 'line 2', found: '{"step":' });
  }
});

it('cuts what lies beyond a resumed step', () => {
  write(...[1, 2, 3, 4, 5].map((step) => ({ step, loss: 1 / step })));
  appendFileSync(path, '{"step":6');
  const upTo = (last: number) => (entry: unknown) => (entry as { step: number }).step <= last;
  expect(truncateJsonlAfter(path, upTo(9))).toBe(0);
  expect(truncateJsonlAfter(path, upTo(3))).toBe(2);
  write({ step: 4, loss: 0 });
  expect(readJsonl(path)).toEqual([
    { step: 1, loss: 1 },
    { step: 2, loss: 1 / 2 },
    { step: 3, loss: 1 / 3 },
    { step: 4, loss: 0 },
  ]);
  expect(truncateJsonlAfter(path, () => false)).toBe(4);
  expect(truncateJsonlAfter(path, () => false)).toBe(0);
  expect(readJsonl(path)).toEqual([]);
});

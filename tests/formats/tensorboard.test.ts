import { mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RequestError } from '../../src/errors.js';
import { TensorBoardWriter } from '../../src/formats/tensorboard.js';
import { crc32c, readEvents } from './tensorboard-reader.js';

const folder = () => mkdtempSync(join(tmpdir(), 'tensorboard-'));

describe('TensorBoard event files', () => {
  it('has the checksum of the standard', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  });

  it('are read back as written, by a reader of the format', () => {
    const writer = new TensorBoardWriter(folder(), 1, 0);
    writer.append(1, { 'train/loss': 8.25, 'router/layer 0/expert 1': 0.5 });
    writer.append(300, { 'validation/loss': -1e-3, größe: Number.NaN });
    writer.append(2 ** 40, { 'train/loss': 1e30 });
    writer.close();
    const [version, start, first, second, late] = readEvents(writer.path);
    expect(version).toEqual({ step: 0, version: 'brain.Event:2', scalars: {} });
    expect(start).toEqual({ step: 0, start: true, scalars: {} });
    expect(first).toEqual({ step: 1, scalars: { 'train/loss': 8.25, 'router/layer 0/expert 1': 0.5 } });
    expect(second!.step).toBe(300);
    expect(second!.scalars['validation/loss']).toBe(Math.fround(-1e-3));
    expect(second!.scalars.größe).toBeNaN();
    expect(late).toEqual({ step: 2 ** 40, scalars: { 'train/loss': Math.fround(1e30) } });
  });

  it('of a later attempt sort after those of an earlier one and say from which step on they count', () => {
    const into = folder();
    for (const [attempt, step] of [
      [1, 0],
      [2, 6],
      [10, 11],
    ] as const) {
      new TensorBoardWriter(into, attempt, step).close();
    }
    const starts = readdirSync(into)
      .sort()
      .map((name) => readEvents(join(into, name)).find(({ start }) => start)?.step);
    expect(starts).toEqual([0, 6, 11]);
  });

  it('that cannot be written are an error that names the file', () => {
    expect(() => new TensorBoardWriter('/dev/null/x', 1, 0)).toThrow(RequestError);
  });
});

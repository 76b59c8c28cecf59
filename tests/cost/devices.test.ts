import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { readDevices, readInventory } from '../../src/cost/devices.js';
import { RequestError } from '../../src/errors.js';

const root = mkdtempSync(join(tmpdir(), 'disco-devices-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const shipped = readDevices(fileURLToPath(new URL('../../data/prices.yaml', import.meta.url)));

function inventory(text: string): string {
  const file = join(root, `${Math.random()}.yaml`);
  writeFileSync(file, `format: 1\ndevices:\n${text}`);
  return file;
}

describe('the shipped list', () => {
  it("has the paper's prices, and no price without a date and a source", () => {
    const dollars = (name: string) => shipped.find((device) => device.name === name)?.price?.dollarsPerHour;
    expect(['RTX 4090', 'A100-80GB', 'Hygon DCU', 'H100'].map(dollars)).toEqual([
      0.35,
      2.28,
      0.03,
      undefined,
    ]);
    for (const { price } of shipped) if (price) expect([price.date, price.source]).not.toContain('');
  });

  it('leaves out what is not known', () => {
    const dcu = shipped.find(({ name }) => name === 'Hygon DCU')!;
    expect([dcu.memoryGB, dcu.bf16Tflops, dcu.fp32Tflops]).toEqual([undefined, undefined, undefined]);
  });
});

describe('an inventory', () => {
  it('is completed from the shipped list, and what it says itself counts', () => {
    const file = inventory(
      [
        '  - { name: RTX 4090, count: 4 }',
        '  - { name: A100-80GB, dollarsPerHour: 1.2, utilization: 0.5 }',
        '  - { name: mine, memoryGB: 12, dollarsPerHour: 0, measuredTflops: 20 }',
      ].join('\n'),
    );
    const [cheap, large, mine] = readInventory(file, shipped);
    expect(cheap).toEqual({
      ...{ name: 'RTX 4090', count: 4, dollarsPerHour: 0.35, memoryGB: 24, speed: 'peak at 40 %' },
      tflops: { bfloat16: 165.2 * 0.4, float32: 82.6 * 0.4 },
    });
    expect(large).toMatchObject({ count: 1, dollarsPerHour: 1.2, tflops: { bfloat16: 156, float32: 9.75 } });
    expect(mine).toMatchObject({
      dollarsPerHour: 0,
      speed: 'measured',
      tflops: { bfloat16: 20, float32: 20 },
    });
  });

  it.each([
    ['  - { name: H100 }', /H100: dollarsPerHour.*0 for a card/s],
    ['  - { name: RTX 409, dollarsPerHour: 1 }', /bf16Tflops.*did you mean RTX 4090/s],
    ['  - { name: Hygon DCU }', /Hygon DCU: bf16Tflops/],
    ['  - { name: RTX 4090, counts: 2 }', /devices\.0.*counts/],
    ['  - { name: RTX 4090, count: 0 }', /devices\.0\.count/],
    ['  - [', /Not YAML/],
  ])('%j is refused with its reason', (text, reason) => {
    const file = inventory(text);
    const thrown = (() => {
      try {
        readInventory(file, shipped);
      } catch (error) {
        return error;
      }
      return null;
    })();
    expect(thrown).toBeInstanceOf(RequestError);
    const { message, key, expected, hint, file: named } = thrown as RequestError;
    expect([message, key, expected, hint].join('\n')).toMatch(reason);
    expect(named).toBe(file);
  });

  it('that lists a device twice in the file of prices, or is not there, is refused', () => {
    expect(() => readDevices(inventory('  - { name: a }\n  - { name: a }'))).toThrow('listed twice');
    expect(() => readDevices(join(root, 'none.yaml'))).toThrow('File not found');
  });
});

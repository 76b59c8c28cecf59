import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Plan, planRecipe } from '../../src/cost/plan.js';
import { EnvironmentError } from '../../src/errors.js';
import { freeBytes } from '../../src/formats/new-folder.js';
import { memoryBytes, refuseTooSmall } from '../../src/launch/room.js';
import { recipeFile } from '../../src/launch/shipped.js';
import { loadRecipe } from '../../src/recipe/load.js';

const tiny = planRecipe(loadRecipe(recipeFile('tiny')).recipe);
const place = join(tmpdir(), 'not', 'there', 'yet');

function refusal(plan: Plan, devices: string[]): EnvironmentError | null {
  try {
    refuseTooSmall(plan, place, devices);
    return null;
  } catch (error) {
    expect(error).toBeInstanceOf(EnvironmentError);
    return error as EnvironmentError;
  }
}

describe('room for a run', () => {
  it('is there for a tiny one, in a folder that is not made yet', () => {
    expect(freeBytes(place)).toBeGreaterThan(tiny.diskBytes);
    expect(memoryBytes()).toBeGreaterThan(tiny.memory.whole.total);
    expect(refusal(tiny, ['cpu'])).toBeNull();
  });

  it('is refused where the disk is too small', () => {
    const error = refusal({ ...tiny, diskBytes: 1e18 }, ['cuda:0']);
    expect(error).toMatchObject({ exitStatus: 74, file: place, expected: 'about 1000000000.0 GB' });
    expect(error?.found).toMatch(/^[\d.]+ GB free$/);
  });

  it('is refused where the memory is too small for training on the CPU, and left to the driver of a GPU', () => {
    const memory = { ...tiny.memory, whole: { ...tiny.memory.whole, total: 1e18 } };
    expect(refusal({ ...tiny, memory }, ['cpu'])?.key).toBe('execution.devices');
    expect(refusal({ ...tiny, memory }, ['cuda:0'])).toBeNull();
  });
});

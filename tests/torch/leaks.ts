import { afterEach, beforeEach, expect } from 'vitest';
import { liveTensors } from '../../src/torch/index.js';

/** Makes every test of the file end with as many live tensors as it began. */
export function expectNoLeaks(): void {
  let before = 0;
  beforeEach(() => {
    before = liveTensors();
  });
  afterEach(() => {
    expect(liveTensors(), 'live tensors').toBe(before);
  });
}

import { describe, expect, it } from 'vitest';
import { EXIT, NumericError, StoppedError } from '../../src/errors.js';
import { failureOf, WorkerError, worst } from '../../src/launch/failure.js';

describe('failures', () => {
  it('describes an error that was foreseen with its details', () => {
    const error = new NumericError('The loss is not finite.', { key: 'step 12' });
    expect(failureOf(error)).toEqual({
      exitStatus: 65,
      text: 'The loss is not finite.\n  key:      step 12',
    });
  });

  it('calls anything else a bug and shows where', () => {
    const { text, exitStatus } = failureOf(new TypeError('x is undefined'));
    expect(exitStatus).toBe(EXIT.bug);
    expect(text).toMatch(/^This is a bug in moe-disco.*\nTypeError: x is undefined\n\s+at /);
  });

  it('takes a full disk for one wherever it was met, but no missing file', () => {
    const error = (code: string) => Object.assign(new Error(`${code}: write`), { code, syscall: 'write' });
    expect(failureOf(error('ENOSPC')).exitStatus).toBe(EXIT.environment);
    expect(failureOf(error('ENOSPC')).text).toContain('the disk is full');
    expect(failureOf(error('ENOENT')).exitStatus).toBe(EXIT.bug);
  });

  it('names the stage once', () => {
    const failure = failureOf(new StoppedError('Stopped.'));
    expect(new WorkerError('merged', failure).message).toBe('merged: Stopped.');
    expect(new WorkerError('merged', { ...failure, text: 'merged: full' }).message).toBe('merged: full');
    expect(new WorkerError('merged', failure).exitStatus).toBe(75);
  });

  it('lets the failure decide that least can be mended by running again', () => {
    const order = [1, 2, 65, 74, 76, 75] as const;
    for (const [place, exitStatus] of order.entries()) {
      const others = order.slice(place).map((status) => ({ exitStatus: status }));
      expect(worst(others)?.exitStatus).toBe(exitStatus);
      expect(worst(others.reverse())?.exitStatus).toBe(exitStatus);
    }
    expect(worst([])).toBeNull();
  });
});

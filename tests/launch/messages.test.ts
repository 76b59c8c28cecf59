import { describe, expect, it } from 'vitest';
import { fromWorker, toWorker } from '../../src/launch/messages.js';

describe('messages', () => {
  it.each([
    { type: 'progress', progress: { stage: 'corpus' } },
    { type: 'say', text: 'hello' },
    { type: 'error', text: 'no', exitStatus: 65 },
    { type: 'done', done: { stage: 'corpus' } },
  ])('takes $type from a worker', (message) => expect(fromWorker(message)).toBe(message));

  it.each([{ type: 'start', stage: 'corpus' }, { type: 'stop', reason: 'SIGTERM' }, { type: 'end' }])(
    'takes $type from a supervisor',
    (message) => expect(toWorker(message)).toBe(message),
  );

  it.each([
    null,
    undefined,
    'stop',
    7,
    {},
    [],
    { type: 'unknown' },
    { type: 'say' },
    { type: 'error', text: 'no', exitStatus: 3 },
    { type: 'progress', progress: null },
    { type: 'start', stage: 1 },
    { type: 'stop' },
  ])('ignores %j', (message) => {
    expect(fromWorker(message)).toBeNull();
    expect(toWorker(message)).toBeNull();
  });
});

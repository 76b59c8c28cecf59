/**
 * What a supervisor and its workers say to each other over the IPC channel. Both ends are the same program, but
 * not necessarily the same moment: an unknown message is ignored, never trusted.
 */
import { EXIT, type ExitStatus } from '../errors.js';
import type { Progress } from '../run/context.js';
import type { Done } from '../run/done.js';

/** From a worker to its supervisor. */
export type FromWorker =
  | { type: 'progress'; progress: Progress }
  | { type: 'say'; text: string }
  | { type: 'done'; done: Done }
  | { type: 'error'; text: string; exitStatus: ExitStatus };

/** From a supervisor to a worker: do a stage, stop and save, end (nothing is left to do). */
export type ToWorker = { type: 'start'; stage: string } | { type: 'stop'; reason: string } | { type: 'end' };

const STATUSES: readonly unknown[] = Object.values(EXIT);

function hasType(message: unknown): message is { type: unknown } & Record<string, unknown> {
  return typeof message === 'object' && message !== null && 'type' in message;
}

/** `message` as one of a worker's messages, or null when it is none. */
export function fromWorker(message: unknown): FromWorker | null {
  if (!hasType(message)) return null;
  const known =
    (message.type === 'progress' && typeof message.progress === 'object' && message.progress !== null) ||
    (message.type === 'say' && typeof message.text === 'string') ||
    (message.type === 'done' && typeof message.done === 'object' && message.done !== null) ||
    (message.type === 'error' && typeof message.text === 'string' && STATUSES.includes(message.exitStatus));
  return known ? (message as FromWorker) : null;
}

/** `message` as one of a supervisor's messages, or null when it is none. */
export function toWorker(message: unknown): ToWorker | null {
  if (!hasType(message)) return null;
  const known =
    (message.type === 'start' && typeof message.stage === 'string') ||
    (message.type === 'stop' && typeof message.reason === 'string') ||
    message.type === 'end';
  return known ? (message as ToWorker) : null;
}

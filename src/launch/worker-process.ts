/** The supervisor's side of one worker: starts it, gives it stages, hears it, stops or kills it. */
import type { ChildProcess } from 'node:child_process';
import { EngineError, EnvironmentError, EXIT, StoppedError } from '../errors.js';
import type { Progress } from '../run/context.js';
import type { Done } from '../run/done.js';
import { WorkerError } from './failure.js';
import { fromWorker, type ToWorker } from './messages.js';
import { startWorker } from './process.js';

/** Who hears what a worker says while it does a stage. */
export interface WorkerListener {
  progress(progress: Progress): void;
  say(text: string): void;
}

interface Assignment {
  stage: string;
  listener: WorkerListener;
  resolve(done: Done): void;
  reject(error: unknown): void;
}

/** Signals that tell of the machine, not of a fault in the program: the memory killer, a scheduler, a full disk. */
const FROM_OUTSIDE: readonly (NodeJS.Signals | null)[] = [
  'SIGKILL',
  'SIGTERM',
  'SIGHUP',
  'SIGINT',
  'SIGBUS',
  'SIGXCPU',
];

/** A worker process on one device. */
export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #assignment: Assignment | null = null;
  #failure: WorkerError | null = null;
  #abandoned = false;
  #alive = true;

  constructor(
    folder: string,
    readonly device: string,
    readonly threads: number,
  ) {
    this.#child = startWorker(['worker', folder, '--device', device], threads);
    this.#child.on('message', (message) => this.#hear(message));
    this.#ended = new Promise((resolve) => {
      // `close` follows the last message; `error` alone means that the process never started.
      this.#child.on('close', (code, signal) => {
        this.#end(code, signal);
        resolve();
      });
      this.#child.on('error', (error) => {
        if (this.#child.pid !== undefined) return;
        this.#alive = false;
        this.#settle(
          new EnvironmentError('A worker process cannot be started.', { found: error.message, cause: error }),
        );
        resolve();
      });
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** Gives the worker a stage; it must be idle. */
  run(stage: string, listener: WorkerListener): Promise<Done> {
    return new Promise((resolve, reject) => {
      this.#assignment = { stage, listener, resolve, reject };
      this.#send({ type: 'start', stage });
    });
  }

  /** Asks the worker to save and stop. */
  stop(reason: string): void {
    this.#send({ type: 'stop', reason });
  }

  /** Ends the worker at once. */
  kill(): void {
    this.#abandoned = true;
    this.#child.kill('SIGKILL');
  }

  /** Lets an idle worker end, and waits until it has: five seconds, then it is killed. */
  async end(): Promise<void> {
    this.#send({ type: 'end' });
    const late = setTimeout(() => this.kill(), 5000);
    await this.#ended;
    clearTimeout(late);
  }

  #send(message: ToWorker): void {
    // A channel that closes meanwhile is no news: `close` follows and tells how the worker ended.
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  #hear(raw: unknown): void {
    const message = fromWorker(raw);
    const assignment = this.#assignment;
    if (message === null || assignment === null) return;
    if (message.type === 'progress') assignment.listener.progress(message.progress);
    else if (message.type === 'say') assignment.listener.say(message.text);
    else if (message.type === 'error') this.#failure = new WorkerError(assignment.stage, message);
    else {
      this.#assignment = null;
      assignment.resolve(message.done);
    }
  }

  #settle(error: unknown): void {
    const assignment = this.#assignment;
    this.#assignment = null;
    assignment?.reject(error);
  }

  #end(code: number | null, signal: NodeJS.Signals | null): void {
    this.#alive = false;
    const stage = this.#assignment?.stage ?? 'worker';
    if (this.#failure !== null) this.#settle(this.#failure);
    else if (this.#abandoned || code === EXIT.stopped) {
      this.#settle(
        new StoppedError(`${stage}: its worker was ended before it had saved; the last checkpoint is kept.`),
      );
    } else if (FROM_OUTSIDE.includes(signal)) {
      this.#settle(
        new EnvironmentError(`${stage}: its worker was ended by ${signal}.`, {
          hint: 'the same command again continues from the last checkpoint; SIGKILL often means that memory ran out',
        }),
      );
    } else {
      const how = signal === null ? `status ${code}` : signal;
      this.#settle(
        new EngineError(`${stage}: its worker ended with ${how} and without a word; this is a bug.`),
      );
    }
  }
}

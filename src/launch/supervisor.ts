/**
 * Stages in worker processes: one worker a device, a queue when there are more stages than devices. Stops
 * workers gently, kills them after a grace period, and leaves none behind. This process never loads libtorch.
 */
import { DiscoError } from '../errors.js';
import type { Done } from '../run/done.js';
import { threadsFor } from '../run/threads.js';
import { failureOf, WorkerError, worst } from './failure.js';
import type { StageReporter } from './reporter.js';
import { announce, lossesOf, refuseWhenStopped, type Stages, secondsOf } from './stages.js';
import type { StopRequest } from './stop.js';
import { WorkerProcess } from './worker-process.js';

export interface WorkersRequest {
  /** The run folder. */
  folder: string;
  /** `cpu` or `cuda:N`; a device named twice gets two workers. */
  devices: readonly string[];
  /** Threads of each worker, or null: see {@link threadsFor}. */
  threads: number | null;
  reporter: StageReporter;
  stop: StopRequest;
  /** Seconds that workers have to save after a request to stop. */
  graceSeconds?: number;
}

/** Stages in workers. To be closed, whatever happened. */
export interface Workers extends Stages {
  /** Kills what still runs, lets idle workers end, and returns when none is left. */
  close(): Promise<void>;
  /** Kills every worker without waiting. */
  abandon(): void;
}

/** Starts no process before the first stage. */
export function inWorkers(request: WorkersRequest): Workers {
  return new Supervisor(request);
}

class Supervisor implements Workers {
  readonly #request: WorkersRequest;
  /** The worker of each device, by the device's place in the request. */
  readonly #workers: (WorkerProcess | undefined)[] = [];
  readonly #trainedSubmodel = new WeakSet<WorkerProcess>();
  readonly #killAll = () => this.abandon();
  #grace: NodeJS.Timeout | undefined;

  constructor(request: WorkersRequest) {
    this.#request = request;
    process.on('exit', this.#killAll);
    request.stop.onRequest((reason) => this.#stop(reason));
  }

  async run(stage: string): Promise<Done> {
    return (await this.runAll([stage]))[0]!;
  }

  async runAll(stages: readonly string[]): Promise<Done[]> {
    const slots = Math.min(this.#request.devices.length, stages.length);
    const threads = threadsFor(this.#request.threads, slots);
    const done: Done[] = [];
    const failures: DiscoError[] = [];
    let next = 0;
    const drain = async (slot: number): Promise<void> => {
      while (next < stages.length) {
        const place = next++;
        const stage = stages[place]!;
        try {
          done[place] = await this.#one(stage, slot, threads);
        } catch (error) {
          const failure = error instanceof DiscoError ? error : new WorkerError(stage, failureOf(error));
          failures.push(failure);
          this.#request.reporter.failed(stage);
          // Siblings need nothing of one another: they go on, and the run ends with this failure after them.
          const others = stages.length - failures.length - done.filter(() => true).length;
          // The one that decides is thrown at the end; of the rest this is the only word.
          if (this.#request.stop.requested || (others === 0 && worst(failures) === failure)) continue;
          const rest = others === 0 ? '' : `\n(the other ${others === 1 ? 'one goes' : `${others} go`} on)`;
          this.#request.reporter.sayFrom(stage, `${failureOf(failure).text}${rest}`);
        }
      }
    };
    await Promise.all(Array.from({ length: slots }, (_, slot) => drain(slot)));
    const decisive = worst(failures);
    if (decisive !== null) throw decisive;
    return done;
  }

  abandon(): void {
    for (const worker of this.#workers) if (worker?.alive === true) worker.kill();
  }

  async close(): Promise<void> {
    clearTimeout(this.#grace);
    await Promise.all(this.#workers.map((worker) => worker?.end()));
    process.off('exit', this.#killAll);
  }

  async #one(stage: string, slot: number, threads: number): Promise<Done> {
    refuseWhenStopped(this.#request.stop, stage);
    const { reporter } = this.#request;
    announce(this.#request.folder, stage, reporter);
    const worker = await this.#workerFor(slot, threads, stage.startsWith('submodels/'));
    const since = Date.now();
    const finished = await worker.run(stage, {
      progress: (progress) => reporter.progress(progress),
      say: (text) => reporter.sayFrom(stage, text),
    });
    const seconds = secondsOf(finished, since);
    reporter.finished(stage, seconds, lossesOf(finished));
    // Whoever only found a submodel done is as good as new.
    if (stage.startsWith('submodels/') && seconds !== null) this.#trainedSubmodel.add(worker);
    return finished;
  }

  /** The worker of a slot, or a new one where it cannot serve: no two submodels are trained in one process. */
  async #workerFor(slot: number, threads: number, submodel: boolean): Promise<WorkerProcess> {
    const present = this.#workers[slot];
    const spent = submodel && present !== undefined && this.#trainedSubmodel.has(present);
    if (present?.alive === true && present.threads === threads && !spent) return present;
    await this.#release(slot);
    const worker = new WorkerProcess(this.#request.folder, this.#request.devices[slot]!, threads);
    this.#workers[slot] = worker;
    return worker;
  }

  async #release(slot: number): Promise<void> {
    const worker = this.#workers[slot];
    this.#workers[slot] = undefined;
    await worker?.end();
  }

  #stop(reason: string): void {
    const grace = this.#request.graceSeconds ?? 60;
    this.#request.reporter.say(`${reason}: saving and stopping. Once more Ctrl-C leaves at once.`);
    for (const worker of this.#workers) worker?.stop(reason);
    this.#grace = setTimeout(() => {
      this.#request.reporter.say(`A worker did not stop within ${grace} s and is ended.`);
      this.abandon();
    }, grace * 1000);
    this.#grace.unref();
  }
}

/**
 * The worker's side: does the stages that its supervisor names, one at a time, says how it goes, and never
 * outlives the supervisor.
 */
import { EXIT, StoppedError } from '../errors.js';
import { failureOf } from './failure.js';
import { type FromWorker, toWorker } from './messages.js';
import { messageReporter } from './reporter.js';
import { openRun } from './run-recipe.js';
import { runStageHere, stageEntry } from './stages.js';
import { StopRequest, stopOnSignals } from './stop.js';

/** Sends a message and waits until it is on its way. */
function send(message: FromWorker): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) resolve();
    else process.send(message, undefined, undefined, () => resolve());
  });
}

/**
 * The supervisor is gone: end at once. Files appear whole or not at all, so nothing is lost that a checkpoint
 * holds, and SIGKILL is the one end that no library's own clean-up can delay.
 */
function leave(): void {
  process.kill(process.pid, 'SIGKILL');
}

/**
 * Serves the supervisor at the other end of the IPC channel until it says `end` or a stage fails; then the
 * process ends with the stage's exit status.
 * @param folder the run folder
 * @param device `cpu` or `cuda:N`
 */
export function serve(folder: string, device: string): void {
  const stop = new StopRequest();
  stopOnSignals(stop);
  process.on('disconnect', leave);
  const reporter = messageReporter((message) => void send(message));
  const work = async (stage: string): Promise<void> => {
    const { run, recipe } = openRun(folder);
    if (stageEntry(stage).tensors) {
      // The kernel ends this process with its parent even while a long operator runs and no event is handled.
      (await import('../torch/index.js')).dieWithParent(process.ppid);
      if (!process.connected) leave();
    }
    const done = await runStageHere(stage, { run, recipe, reporter, stop, device });
    await send({ type: 'done', done });
  };
  process.on('message', (raw) => {
    const message = toWorker(raw);
    if (message?.type === 'stop') stop.request(message.reason);
    else if (message?.type === 'end') process.exit(EXIT.done);
    else if (message?.type === 'start') {
      work(message.stage).catch(async (error: unknown) => {
        const failure = failureOf(error);
        await send({ type: 'error', ...failure });
        process.exit(failure.exitStatus);
      });
    }
  });
  if (!process.connected) throw new StoppedError('The supervisor of this worker has ended.');
}

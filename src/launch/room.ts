/** Whether a run fits the machine: looked at before anything is trained, refused with status 74. */
import { totalmem } from 'node:os';
import type { Plan } from '../cost/plan.js';
import { EnvironmentError } from '../errors.js';
import { freeBytes } from '../formats/new-folder.js';

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(bytes < 1e9 ? 3 : 1)} GB`;

/** Bytes of memory that this process and its workers may use: those of the machine, or of its container. */
export function memoryBytes(): number {
  const limit = process.constrainedMemory() ?? 0;
  // Without a limit the kernel answers 0 or a number beyond any memory.
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

/**
 * Refuses a run that would fill the disk or, trained on a CPU, the memory. Both are compared with what the run is
 * estimated to need. What a GPU holds only its driver knows: there the first step says so.
 * @param folder the run folder, which need not be there
 * @throws EnvironmentError naming what is needed and what is there
 */
export function refuseTooSmall(plan: Plan, folder: string, devices: readonly string[]): void {
  const free = freeBytes(folder);
  if (free < plan.diskBytes) {
    throw new EnvironmentError('There is too little free disk for this run.', {
      file: folder,
      expected: `about ${gigabytes(plan.diskBytes)}`,
      found: `${gigabytes(free)} free`,
      hint: 'free some space, or put the run on another disk with --into',
    });
  }
  const memory = memoryBytes();
  const needed = plan.memory.whole.total;
  if (devices.includes('cpu') && memory < needed) {
    throw new EnvironmentError('This machine has too little memory to train the whole model on its CPU.', {
      key: 'execution.devices',
      expected: `about ${gigabytes(needed)}`,
      found: gigabytes(memory),
      hint: 'a smaller train.microBatch or model, execution.backward: blocks, or another machine',
    });
  }
}

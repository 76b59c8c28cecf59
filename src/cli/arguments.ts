/** Arguments and options that several commands share, and how their texts are read. */
import { Argument, InvalidArgumentError, Option } from '@commander-js/extra-typings';
import { RequestError } from '../errors.js';

/** The argument RUN. */
export function runArgument() {
  return new Argument('<run>', 'the run folder');
}

/** The arguments key.path=value. */
export function overridesArgument() {
  return new Argument('[key=value...]', 'values that replace those of the recipe: train.batchSize=8');
}

/** Reads `cpu` or `cuda:0,cuda:1`; `cuda` is `cuda:0`. */
function devices(text: string): string[] {
  return text.split(',').map((part) => {
    const device = part.trim() === 'cuda' ? 'cuda:0' : part.trim();
    if (!/^(cpu|cuda:\d{1,3})$/.test(device)) {
      throw new InvalidArgumentError('Expected cpu, cuda:N or a list of them with commas.');
    }
    return device;
  });
}

/** --devices, for commands with workers. */
export function devicesOption() {
  const text =
    'devices to use, one worker each, with commas: cpu or cuda:0,cuda:1 (default: execution.devices of the recipe)';
  return new Option('--devices <list>', text).argParser(devices);
}

/** --device, for commands that compute in their own process. */
export function deviceOption() {
  const text = 'device to compute on: cpu or cuda:N (default: the first of execution.devices)';
  return new Option('--device <device>', text).argParser((value) => devices(value)[0]!);
}

/**
 * A run's recipe is fixed when its folder is made.
 * @throws RequestError when there are overrides where no recipe is given
 */
export function refuseOverrides(overrides: readonly string[]): void {
  if (overrides.length === 0) return;
  throw new RequestError('Values can be replaced only when a run is made from a recipe.', {
    found: overrides.join(' '),
    hint: 'give the recipe with --recipe, or make another run: moe-disco fork RUN NEW key=value',
  });
}

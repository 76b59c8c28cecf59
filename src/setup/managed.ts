/** The managed copy: PyTorch's C++ libraries and headers in the user's cache, taken from the pinned wheels. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EnvironmentError, RequestError } from '../errors.js';
import { makeFolder, requireFreeDisk } from './cache.js';
import { inspectLibtorch, type Libtorch } from './libtorch.js';
import { PINNED_TORCH, WHEELS, type WheelSet } from './pins.js';
import { findPip, missingPip, pipInstall } from './pip.js';
import { type Facts, serves, wheelArch } from './platform.js';
import { type Say, step } from './process.js';

/** Where the managed copy of a build lies, there or not. */
export function managedFolder(cache: string, build: 'cpu' | 'cuda', facts: Facts): string {
  return join(cache, `torch-${PINNED_TORCH}-${build}-${wheelArch(facts)}`);
}

/** A managed copy that is there and serves: of the wanted build, else of one that can do more. */
export function findManaged(cache: string, wanted: 'cpu' | 'cuda', facts: Facts): Libtorch | null {
  for (const build of [wanted, 'cuda'] as const) {
    const found = inspectLibtorch(managedFolder(cache, build, facts));
    if (!('missing' in found) && serves(found.build, wanted)) return found;
  }
  return null;
}

// At the peak, with the wheels as downloaded beside everything unpacked: 1.8 and 7 GB, and some air.
const FREE_BYTES = { cpu: 4e9, cuda: 8e9 };

/** A test that says why a libtorch cannot be loaded, or `null` when it can. */
export type LoadTest = (libtorch: Libtorch) => Promise<string | null>;

/**
 * Makes the managed copy by pip. The folder appears only when it is complete and has passed the load test.
 * @throws EnvironmentError without pip, disk or network, or when the copy does not load.
 */
export async function makeManaged(
  cache: string,
  build: 'cpu' | 'cuda',
  facts: Facts,
  loadTest: LoadTest,
  say: Say,
): Promise<Libtorch> {
  const wheels = wheelSet(facts);
  requireFreeDisk(cache, FREE_BYTES[build]);
  const python = await findPip(facts.env);
  if (python === null) throw missingPip(facts);
  const pins = build === 'cuda' ? [...wheels.cpu, ...wheels.cuda] : wheels.cpu;
  const megabytes = Math.round(pins.reduce((sum, pin) => sum + pin.bytes, 0) / 1e6);
  const target = managedFolder(cache, build, facts);
  await makeFolder(target, async (folder) => {
    const temporary = join(folder, '.pip');
    const unpacked = join(temporary, 'target');
    mkdirSync(temporary);
    const what = `Downloading and unpacking PyTorch ${PINNED_TORCH} (${build} build, ${megabytes} MB) with pip`;
    await step(say, what, () =>
      watched(temporary, say, () =>
        pipInstall(python, pins, wheels.platforms, unpacked, temporary, facts.env),
      ),
    );
    keepLibraries(unpacked, folder, build);
    rmSync(temporary, { recursive: true });
    writeFileSync(
      join(folder, 'moe-disco.json'),
      `${JSON.stringify({ format: 1, build, wheels: pins }, null, 2)}\n`,
    );
    const made = inspectLibtorch(folder);
    const reason = 'missing' in made ? `${made.missing} is missing` : await loadTest(made);
    if (reason !== null)
      throw new EnvironmentError('The installed PyTorch cannot be loaded.', { found: reason });
  });
  const made = inspectLibtorch(target);
  if ('missing' in made)
    throw new EnvironmentError('The managed copy is incomplete.', { file: made.missing });
  return made;
}

function wheelSet(facts: Facts): WheelSet {
  const wheels = WHEELS[`${facts.platform}-${facts.arch}`];
  if (wheels === undefined)
    throw new RequestError(`No PyTorch is known for ${facts.platform} ${facts.arch}.`);
  return wheels;
}

// CUDA's part of the wheel, useless without a GPU, and profiling tools that nothing links against.
const CUDA_ONLY =
  /^lib(torch_cuda.*|c10_cuda|torch_nvshmem|caffe2_nvrtc|nvperf.*|pcsamplingutil|checkpoint)\.so/;
const UNUSED = /^lib(torch_python|shm.*)\.(so|dylib)$|^libshm|\.a$/;

/** Moves libraries, headers, version and licences out of pip's target; Python code and tools stay behind. */
function keepLibraries(unpacked: string, folder: string, build: 'cpu' | 'cuda'): void {
  mkdirSync(join(folder, 'torch'));
  for (const part of ['include', 'lib', 'version.py']) {
    renameSync(join(unpacked, 'torch', part), join(folder, 'torch', part));
  }
  for (const name of readdirSync(unpacked)) {
    if (name === 'nvidia' || name.endsWith('.dist-info'))
      renameSync(join(unpacked, name), join(folder, name));
  }
  const nvidia = join(folder, 'nvidia');
  const libraries = existsSync(nvidia) ? readdirSync(nvidia).map((part) => join(nvidia, part, 'lib')) : [];
  for (const lib of [join(folder, 'torch', 'lib'), ...libraries].filter((path) => existsSync(path))) {
    for (const name of readdirSync(lib)) {
      const drop = UNUSED.test(name) || (build === 'cpu' && CUDA_ONLY.test(name));
      if (drop) rmSync(join(lib, name), { recursive: true });
    }
  }
}

const WATCH_MS = 10_000;

/** Tells every ten seconds how much has arrived, since pip is silent while it downloads. */
async function watched<T>(folder: string, say: Say, body: () => Promise<T>): Promise<T> {
  const start = Date.now();
  const timer = setInterval(() => {
    const seconds = Math.round((Date.now() - start) / 1000);
    say(`  ${Math.round(sizeOf(folder) / 1e6)} MB on disk after ${seconds} s`);
  }, WATCH_MS);
  try {
    return await body();
  } finally {
    clearInterval(timer);
  }
}

function sizeOf(folder: string): number {
  let sum = 0;
  try {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      sum += entry.isDirectory() ? sizeOf(path) : statSync(path).size;
    }
  } catch {
    // pip moves files while we look; the next look counts them.
  }
  return sum;
}

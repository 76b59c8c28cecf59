/** Looking for a libtorch that is already there. */
import { RequestError } from '../errors.js';
import { compareMinor, inspectLibtorch, type Libtorch } from './libtorch.js';
import { findManaged, type LoadTest } from './managed.js';
import { NEWEST_TORCH, OLDEST_TORCH } from './pins.js';
import { pythonCandidates } from './pip.js';
import { type Facts, serves } from './platform.js';
import { run, type Say } from './process.js';

/** Where a libtorch came from. */
export type Source = 'folder' | 'managed' | 'python';
export interface Found extends Libtorch {
  source: Source;
}

/** Whether DISCO_TORCH_SOURCE=managed asks to pass over everything but the managed copy. */
export function onlyManaged(env: NodeJS.ProcessEnv): boolean {
  const source = env.DISCO_TORCH_SOURCE ?? '';
  if (source === '' || source === 'managed') return source !== '';
  throw new RequestError('DISCO_TORCH_SOURCE is not known.', {
    expected: 'managed, or nothing',
    found: source,
  });
}

/**
 * The libtorch to use, in this order: DISCO_TORCH, a managed copy that is there, a Python's torch of a supported
 * version that loads. `null` when there is none and a managed copy must be made. What is passed over is said.
 * @throws RequestError when DISCO_TORCH is not a libtorch that serves.
 */
export async function findLibtorch(
  cache: string,
  wanted: 'cpu' | 'cuda',
  facts: Facts,
  loadTest: LoadTest,
  say: Say,
): Promise<Found | null> {
  const managedOnly = onlyManaged(facts.env);
  const given = facts.env.DISCO_TORCH ?? '';
  if (given !== '' && !managedOnly) return { ...(await checkGiven(given, loadTest, say)), source: 'folder' };
  const managed = findManaged(cache, wanted, facts);
  if (managed !== null) return { ...managed, source: 'managed' };
  if (managedOnly) return null;
  const tried = new Set<string>();
  for (const python of pythonCandidates(facts.env)) {
    const folder = await torchOfPython(python, facts.env);
    if (folder === null || tried.has(folder)) continue;
    tried.add(folder);
    const found = inspectLibtorch(folder);
    if ('missing' in found) continue;
    const reason = unfitness(found, wanted) ?? (await loadTest(found));
    if (reason === null) return { ...found, source: 'python' };
    say(`Not using PyTorch ${found.version} of ${python}: ${reason}`);
  }
  return null;
}

/** Why a Python's torch is not taken, or `null`. */
export function unfitness(libtorch: Libtorch, wanted: 'cpu' | 'cuda'): string | null {
  if (compareMinor(libtorch.version, OLDEST_TORCH) < 0) return `older than ${OLDEST_TORCH}`;
  if (compareMinor(libtorch.version, NEWEST_TORCH) > 0)
    return `newer than ${NEWEST_TORCH}, the newest tested`;
  return serves(libtorch.build, wanted) ? null : `a ${libtorch.build} build, where ${wanted} is wanted`;
}

// Whether it has CUDA is not asked here: who names a folder has chosen.
async function checkGiven(folder: string, loadTest: LoadTest, say: Say): Promise<Libtorch> {
  const found = inspectLibtorch(folder);
  const expected = 'a folder with include/ and lib/ of libtorch, or the `torch` folder of a Python package';
  if ('missing' in found) {
    throw new RequestError('DISCO_TORCH names no libtorch.', {
      file: folder,
      expected,
      found: `no ${found.missing}`,
    });
  }
  if (compareMinor(found.version, NEWEST_TORCH) > 0) {
    say(`DISCO_TORCH is PyTorch ${found.version}; the newest tested is ${NEWEST_TORCH}.`);
  }
  const old = compareMinor(found.version, OLDEST_TORCH) < 0 ? `older than ${OLDEST_TORCH}` : null;
  const reason = old ?? (await loadTest(found));
  if (reason === null) return found;
  throw new RequestError(`DISCO_TORCH (PyTorch ${found.version}) cannot be used.`, {
    file: folder,
    found: reason,
  });
}

/** The folder of the package `torch` that a Python would import, without importing it (which takes seconds). */
async function torchOfPython(python: string, env: NodeJS.ProcessEnv): Promise<string | null> {
  const code =
    'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")';
  const { status, stdout } = await run(python, ['-c', code], { env, cwd: '/', timeout: 30_000 });
  const folder = stdout.trim();
  return status === 0 && folder !== '' ? folder : null;
}

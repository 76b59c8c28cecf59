/**
 * The engine: a libtorch and the addon built against it. `ensureEngine` makes what is missing and leaves a
 * pointer file in the cache; `locateEngine` reads that pointer and checks that it still holds, in milliseconds.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { EnvironmentError, RequestError } from '../errors.js';
import { buildAddon, buildLoader, hashSources, PACKAGE_FOLDER, testLoad } from './addon.js';
import { cacheFolder, removeLeftovers, withEnvironment } from './cache.js';
import { findCompiler } from './compiler.js';
import { type Found, findLibtorch, onlyManaged, type Source } from './find.js';
import { identityOf } from './libtorch.js';
import { withLock } from './lock.js';
import { makeManaged } from './managed.js';
import {
  type Build,
  type DeviceChoice,
  type Facts,
  gatherFacts,
  hasNvidiaGpu,
  refuseUnsupported,
  serves,
  wantedBuild,
} from './platform.js';
import type { Say } from './process.js';

export interface Engine {
  /** The folder that holds include/ and lib/ of libtorch. */
  torchFolder: string;
  torchVersion: string;
  build: Build;
  source: Source;
  /** disco_torch.node, to be loaded after libtorch. */
  addonPath: string;
  /** loader.node: `load(path)` opens a library with its symbols visible to all. */
  loaderPath: string;
}

interface Pointer extends Engine {
  format: 1;
  identity: string;
}

export interface SetupOptions {
  /** Left out: whatever was set up before does, else as `auto`. */
  device?: DeviceChoice;
  say?: Say;
  facts?: Facts;
  /** Folder of the C++ sources. */
  native?: string;
}

const NATIVE = join(PACKAGE_FOLDER, 'native');

/** The pointer's file: its name changes with all that would make another engine the right one. */
function pointerFile(facts: Pick<Facts, 'env' | 'home'>, native: string): string {
  const manifest = JSON.parse(readFileSync(join(PACKAGE_FOLDER, 'package.json'), 'utf8')) as {
    version: string;
  };
  const given = onlyManaged(facts.env) ? 'managed' : (facts.env.DISCO_TORCH ?? '');
  const key = createHash('sha256')
    .update(JSON.stringify([manifest.version, hashSources(native), given]))
    .digest('hex');
  return join(cacheFolder(facts), `engine-${process.platform}-${process.arch}-${key.slice(0, 16)}.json`);
}

/** The engine that the pointer names, or `null` when it or anything it names is gone or has been replaced. */
function readPointer(file: string): Engine | null {
  try {
    const { format, identity, ...engine } = JSON.parse(readFileSync(file, 'utf8')) as Pointer;
    const holds =
      format === 1 &&
      existsSync(engine.addonPath) &&
      existsSync(engine.loaderPath) &&
      identityOf({ folder: engine.torchFolder }) === identity;
    return holds ? engine : null;
  } catch {
    // Absent, damaged, or a library in it is gone: set-up makes it again.
    return null;
  }
}

/**
 * The engine that was set up, without looking for another: a few milliseconds.
 * @throws EnvironmentError when set-up has not been run for these sources, or what it found has gone.
 */
export function locateEngine(env: NodeJS.ProcessEnv = process.env): Engine {
  const engine = readPointer(pointerFile({ env, home: env.HOME ?? homedir() }, NATIVE));
  if (engine !== null) return engine;
  throw new EnvironmentError('The tensor engine is not set up on this machine.', { hint: 'moe-disco setup' });
}

/**
 * Sets up all that is missing, announcing each step: libtorch (found or installed) and the addon. Safe to
 * interrupt, to repeat and to run twice at once. Nothing is done, or said, when it is ready.
 * @throws RequestError on a machine that is not supported; EnvironmentError when compiler, pip, disk or network fail.
 */
export async function ensureEngine(options: SetupOptions = {}): Promise<Engine> {
  const facts = options.facts ?? gatherFacts();
  const say = options.say ?? (() => {});
  const native = options.native ?? NATIVE;
  refuseUnsupported(facts);
  const wanted = wantedBuild(options.device ?? 'auto', facts);
  const pointer = pointerFile(facts, native);
  const ready = () => {
    const engine = readPointer(pointer);
    if (
      engine === null ||
      options.device === undefined ||
      (engine.source === 'folder' && options.device !== 'cuda')
    )
      return engine;
    return serves(engine.build, wanted) ? engine : null;
  };
  const before = ready();
  if (before !== null) return before;
  const cache = cacheFolder(facts);
  withEnvironment('Cannot make the cache folder', () => mkdirSync(cache, { recursive: true }));
  return withLock(cache, say, async () => {
    const meanwhile = ready();
    if (meanwhile !== null) return meanwhile;
    const left = removeLeftovers(cache);
    if (left > 0) say('Removed what an interrupted set-up left behind.');
    const engine = await setUp(cache, wanted, facts, native, say);
    if (options.device === 'cuda' && !serves(engine.build, 'cuda')) {
      throw new RequestError(`DISCO_TORCH is a ${engine.build} build.`, {
        file: engine.torchFolder,
        expected: 'cuda',
      });
    }
    const content: Pointer = { format: 1, ...engine, identity: identityOf({ folder: engine.torchFolder }) };
    writeFileSync(`${pointer}.tmp`, `${JSON.stringify(content, null, 2)}\n`);
    renameSync(`${pointer}.tmp`, pointer);
    say(`The engine is ready: PyTorch ${engine.torchVersion}, ${engine.build} build, ${engine.torchFolder}`);
    return engine;
  });
}

async function setUp(
  cache: string,
  wanted: 'cpu' | 'cuda',
  facts: Facts,
  native: string,
  say: Say,
): Promise<Engine> {
  const compiler = await findCompiler(facts);
  const loaderPath = await buildLoader(native, cache, compiler, facts);
  const loadTest = (libtorch: Parameters<typeof testLoad>[1]) => testLoad(loaderPath, libtorch);
  const found: Found = (await findLibtorch(cache, wanted, facts, loadTest, say)) ?? {
    ...(await makeManaged(cache, wanted, facts, loadTest, say)),
    source: 'managed',
  };
  if (found.source !== 'managed')
    say(`Using PyTorch ${found.version} (${found.build} build) in ${found.folder}`);
  const addonPath = await buildAddon(native, cache, found, compiler, facts, say);
  const reason = await testLoad(loaderPath, found, addonPath);
  if (reason !== null) {
    throw new EnvironmentError('The engine was built but cannot be loaded.', {
      found: reason,
      ...(found.source === 'python' ? { hint: 'DISCO_TORCH_SOURCE=managed moe-disco setup' } : {}),
    });
  }
  const { folder, version, build, source } = found;
  return { torchFolder: folder, torchVersion: version, build, source, addonPath, loaderPath };
}

/** What the engine can do on this machine, and what to run when a GPU lies idle for want of a CUDA build. */
export function describeBuild(
  engine: Pick<Engine, 'torchVersion' | 'build'>,
  nvidiaGpu: boolean = hasNvidiaGpu(),
): { text: string; advice: string | null } {
  const text = `PyTorch ${engine.torchVersion} (${engine.build} build)`;
  if (!nvidiaGpu || serves(engine.build, 'cuda')) return { text, advice: null };
  return {
    text,
    advice: 'This machine has an NVIDIA GPU, but the engine is a CPU build: moe-disco setup --device cuda',
  };
}

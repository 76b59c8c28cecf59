/** Building the native part: the loader, and the addon against the headers of the libtorch that was found. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EnvironmentError } from '../errors.js';
import { makeFolder } from './cache.js';
import type { Compiler } from './compiler.js';
import { identityOf, type Libtorch, librariesOf, usesCxx11Abi } from './libtorch.js';
import type { Facts } from './platform.js';
import { run, type Say, step } from './process.js';

/** The package's own folder, from src/setup as from dist/setup. */
export const PACKAGE_FOLDER = fileURLToPath(new URL('../../', import.meta.url));
const LOADER = 'loader.cc';

/** The C++ sources, full paths in a fixed order: the loader apart from those of the addon, headers too. */
function listSources(native: string): { loader: string; units: string[]; headers: string[] } {
  const all = readdirSync(native, { recursive: true, encoding: 'utf8' }).sort();
  const ending = (...ends: string[]) => all.filter((name) => ends.some((end) => name.endsWith(end)));
  return {
    loader: join(native, LOADER),
    units: ending('.cc')
      .filter((name) => name !== LOADER)
      .map((name) => join(native, name)),
    headers: ending('.h', '.inc').map((name) => join(native, name)),
  };
}

/** Hash (16 hex digits) of names and contents of all sources. */
export function hashSources(native: string): string {
  const { loader, units, headers } = listSources(native);
  const hash = createHash('sha256');
  for (const path of [loader, ...units, ...headers]) {
    const content = readFileSync(path);
    hash.update(`${relative(native, path).split(sep).join('/')}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex').slice(0, 16);
}

const require = createRequire(import.meta.url);

function commonFlags(facts: Facts): string[] {
  const { include_dir: nodeHeaders } = require('node-api-headers') as { include_dir: string };
  // Contraction to fused multiply-add would make results depend on the processor that compiles.
  const flags = ['-std=c++20', '-O2', '-fPIC', '-ffp-contract=off', '-isystem', nodeHeaders];
  return facts.platform === 'darwin' ? flags : [...flags, '-pthread'];
}

function linkFlags(facts: Facts): string[] {
  // Node's own symbols are found when the addon is loaded into it.
  return facts.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared', '-pthread'];
}

/** Flags that compile one unit of the addon against a libtorch. */
function addonFlags(libtorch: Libtorch, facts: Facts): string[] {
  const include = join(libtorch.folder, 'include');
  return [
    ...commonFlags(facts),
    `-D_GLIBCXX_USE_CXX11_ABI=${usesCxx11Abi(libtorch) ? 1 : 0}`,
    ...['-isystem', include, '-isystem', join(include, 'torch', 'csrc', 'api', 'include')],
  ];
}

function keyOf(...parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

/** Builds the loader, which needs no libtorch, unless it is there. Returns its path. */
export async function buildLoader(
  native: string,
  cache: string,
  compiler: Compiler,
  facts: Facts,
): Promise<string> {
  const source = join(native, LOADER);
  const flags = [...commonFlags(facts), ...linkFlags(facts)];
  const key = keyOf(readFileSync(source, 'utf8'), compiler.version, facts.platform, facts.arch, ...flags);
  const folder = join(cache, `loader-${key}`);
  const path = join(folder, 'loader.node');
  if (existsSync(path)) return path;
  await makeFolder(folder, (temporary) =>
    compile(compiler, [
      ...flags,
      source,
      '-o',
      join(temporary, 'loader.node'),
      ...(facts.platform === 'linux' ? ['-ldl'] : []),
    ]),
  );
  return path;
}

/**
 * Builds the addon unless one with the same key is there: sources, flags, compiler, and the libtorch's place and
 * identity. Two units are compiled at a time. Returns its path.
 * @throws EnvironmentError with the compiler's first error.
 */
export async function buildAddon(
  native: string,
  cache: string,
  libtorch: Libtorch,
  compiler: Compiler,
  facts: Facts,
  say: Say,
): Promise<string> {
  const flags = addonFlags(libtorch, facts);
  const parts = [
    hashSources(native),
    compiler.version,
    facts.platform,
    facts.arch,
    identityOf(libtorch),
    ...flags,
  ];
  const folder = join(cache, `addon-${keyOf(...parts)}`);
  const path = join(folder, 'disco_torch.node');
  if (existsSync(path)) return path;
  const { units, headers } = listSources(native);
  const headerHash = keyOf(...headers.map((header) => readFileSync(header, 'utf8')));
  await step(say, `Building the addon (${units.length} files) with ${compiler.command.join(' ')}`, () =>
    makeFolder(folder, async (temporary) => {
      const objects = units.map((unit) => ({
        unit,
        object: join(
          cache,
          'objects',
          `${keyOf(...parts.slice(1), headerHash, readFileSync(unit, 'utf8'))}.o`,
        ),
      }));
      await compileUnits(compiler, [...flags, '-I', native], objects, temporary);
      const link = [
        ...linkFlags(facts),
        ...objects.map(({ object }) => object),
        '-L',
        join(libtorch.folder, 'lib'),
      ];
      await compile(compiler, [...link, '-ltorch_cpu', '-lc10', '-o', join(temporary, 'disco_torch.node')]);
    }),
  );
  return path;
}

const OBJECT_DAYS = 7;

/** Compiles the units whose object is not there, two at a time: who edits one file waits for one file. */
async function compileUnits(
  compiler: Compiler,
  flags: readonly string[],
  objects: readonly { unit: string; object: string }[],
  temporary: string,
): Promise<void> {
  const folder = dirname(objects[0]?.object ?? join(temporary, 'none'));
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (Date.now() - statSync(path).mtimeMs > OBJECT_DAYS * 86_400_000) rmSync(path, { force: true });
  }
  const left = objects.filter(({ object }) => !existsSync(object));
  const worker = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const fresh = join(temporary, basename(next.object));
      await compile(compiler, [...flags, '-c', next.unit, '-o', fresh]);
      renameSync(fresh, next.object);
    }
  };
  await Promise.all([worker(), worker()]);
}

async function compile(compiler: Compiler, args: readonly string[]): Promise<void> {
  const [program = 'g++', ...first] = compiler.command;
  const { status, stderr } = await run(program, [...first, ...args]);
  if (status === 0) return;
  const errors = stderr.split('\n').filter((line) => /error|undefined reference/i.test(line));
  throw new EnvironmentError('The engine could not be compiled.', {
    found: (errors[0] ?? stderr.trim().split('\n').at(-1) ?? `exit status ${status}`).trim(),
    hint: `${compiler.version}; set CXX to use another compiler`,
  });
}

// Runs in a process of its own: a library that does not fit can end the process that opens it.
const LOAD = `
const [loader, addon, ...libraries] = process.argv.slice(1);
const { load } = require(loader);
for (const library of libraries) load(library);
if (addon) process.dlopen({ exports: {} }, addon, require('node:os').constants.dlopen.RTLD_NOW);
`;

/** Opens a libtorch, and the addon with it where given, in a fresh Node. Returns why that fails, or `null`. */
export async function testLoad(loader: string, libtorch: Libtorch, addon = ''): Promise<string | null> {
  const args = ['-e', LOAD, loader, addon, ...librariesOf(libtorch.folder)];
  const { status, stderr } = await run(process.execPath, args, { timeout: 180_000 });
  if (status === 0) return null;
  const lines = stderr.split('\n').filter((line) => /\S/.test(line));
  const line =
    lines.find((text) => /^\w*Error: /.test(text)) ?? lines[0] ?? 'the process that loads it crashes';
  return line.replace(/^Error: /, '').trim();
}

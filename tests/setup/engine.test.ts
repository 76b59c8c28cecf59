/**
 * Set-up from end to end with a compiler and without PyTorch: two tiny libraries stand for libtorch's, a few lines
 * of C++ for the addon.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hashSources, PACKAGE_FOLDER } from '../../src/setup/addon.js';
import { tooOld } from '../../src/setup/compiler.js';
import { describeBuild, ensureEngine, locateEngine } from '../../src/setup/engine.js';
import { libraryName } from '../../src/setup/libtorch.js';
import { gatherFacts } from '../../src/setup/platform.js';
import { layOutLibtorch, temporaryFolder } from './facts.js';

const LOADER = `#include <dlfcn.h>
#include <node_api.h>
#include <string>
static napi_value Load(napi_env env, napi_callback_info info) {
  size_t argc = 1, n = 0; napi_value arg; char path[4096];
  napi_get_cb_info(env, info, &argc, &arg, nullptr, nullptr);
  napi_get_value_string_utf8(env, arg, path, sizeof path, &n);
  if (dlopen(path, RTLD_NOW | RTLD_GLOBAL) == nullptr) napi_throw_error(env, nullptr, dlerror());
  return nullptr;
}
NAPI_MODULE_INIT() {
  napi_value f;
  napi_create_function(env, "load", NAPI_AUTO_LENGTH, Load, nullptr, &f);
  napi_set_named_property(env, exports, "load", f);
  return exports;
}
`;
const ADDON = `#include <node_api.h>
#include "answer.h"
extern int torch_cpu();
NAPI_MODULE_INIT() { return torch_cpu() == ANSWER ? exports : nullptr; }
`;

function workshop() {
  const root = temporaryFolder();
  const torch = layOutLibtorch(join(root, 'torch'), '2.15.0');
  for (const name of ['torch_cpu', 'c10']) {
    const source = join(root, `${name}.cc`);
    writeFileSync(source, `int ${name}() { return 42; }\n`);
    // Like libtorch's: the addon names the library, and must be given the one that is open already.
    const named = process.platform === 'linux' ? [`-Wl,-soname,${libraryName(name)}`] : [];
    execFileSync('g++', ['-shared', '-fPIC', ...named, source, '-o', join(torch, 'lib', libraryName(name))]);
  }
  const native = join(root, 'native');
  mkdirSync(native);
  writeFileSync(join(native, 'loader.cc'), LOADER);
  writeFileSync(join(native, 'addon.cc'), ADDON);
  writeFileSync(join(native, 'answer.h'), '#define ANSWER 42\n');
  const cache = join(root, 'cache');
  const said: string[] = [];
  const setUp = (env: NodeJS.ProcessEnv = {}) =>
    ensureEngine({
      native,
      say: (line) => said.push(line),
      facts: gatherFacts({ PATH: process.env.PATH, DISCO_CACHE: cache, DISCO_TORCH: torch, ...env }),
    });
  return { root, torch, native, cache, said, setUp };
}

describe('set-up', () => {
  it('builds, is silent when there is nothing to do, and builds again when a source or libtorch changes', async () => {
    const { native, torch, cache, said, setUp } = workshop();
    const first = await setUp();
    expect(first).toMatchObject({
      torchFolder: torch,
      torchVersion: '2.15.0',
      build: 'cpu',
      source: 'folder',
    });
    expect(existsSync(first.addonPath) && existsSync(first.loaderPath)).toBe(true);
    expect(said.join('\n')).toMatch(/Building the addon \(1 files\)[\s\S]*done in [\d.]+ s[\s\S]*ready/);
    expect(readdirSync(cache).filter((name) => /^\.tmp|\.lock$|\.tmp$/.test(name))).toEqual([]);

    said.length = 0;
    expect(await setUp()).toEqual(first);
    expect(said).toEqual([]);

    writeFileSync(join(native, 'answer.h'), '#define ANSWER (40 + 2)\n');
    const second = await setUp();
    expect(second.addonPath).not.toBe(first.addonPath);
    expect(second.loaderPath).toBe(first.loaderPath);

    writeFileSync(join(torch, 'version.py'), "__version__ = '2.15.1'\n");
    const third = await setUp();
    expect(third.torchVersion).toBe('2.15.1');
    expect(third.addonPath).not.toBe(second.addonPath);
  });

  it('names the error of the compiler and leaves nothing half-built', async () => {
    const { native, cache, setUp } = workshop();
    writeFileSync(join(native, 'broken.cc'), '#include "answer.h"\nint f() { return nothing; }\n');
    await expect(setUp()).rejects.toMatchObject({
      exitStatus: 74,
      found: expect.stringMatching(/broken\.cc:2:.*nothing/),
    });
    expect(readdirSync(cache).filter((name) => /addon|tmp|engine|lock/.test(name))).toEqual([]);
  });

  it('names the symbol when what was built does not load', async () => {
    const { native, setUp } = workshop();
    writeFileSync(join(native, 'addon.cc'), ADDON.replaceAll('torch_cpu', 'not_there'));
    await expect(setUp()).rejects.toMatchObject({
      exitStatus: 74,
      found: expect.stringMatching(/not_there/),
    });
  });

  it('says in one line what to install where there is no compiler', async () => {
    const { root, setUp } = workshop();
    const failing = setUp({ PATH: join(root, 'empty') });
    await expect(failing).rejects.toMatchObject({
      exitStatus: 74,
      message: expect.stringMatching(/^g\+\+.*apt-get install g\+\+/),
    });
    await expect(setUp({ CXX: 'no-such-compiler' })).rejects.toThrow(/CXX \(no-such-compiler\) does not run/);
  });
});

it('an engine that was not set up is asked for', () => {
  const env = { HOME: temporaryFolder() };
  expect(() => locateEngine(env)).toThrow(
    expect.objectContaining({ exitStatus: 74, hint: 'moe-disco setup' }),
  );
});

describe('details', () => {
  it('finds the sources of the package', () => {
    expect(hashSources(join(PACKAGE_FOLDER, 'native'))).toMatch(/^[0-9a-f]{16}$/);
  });

  it('the hash covers names and contents', () => {
    const folder = temporaryFolder();
    const write = (name: string, text: string) => writeFileSync(join(folder, name), text);
    const seen = new Set<string>();
    write('loader.cc', '');
    seen.add(hashSources(folder));
    write('a.cc', 'x');
    seen.add(hashSources(folder));
    write('a.cc', 'y');
    seen.add(hashSources(folder));
    write('a.h', 'y');
    seen.add(hashSources(folder));
    write('notes.md', 'no source');
    seen.add(hashSources(folder));
    expect(seen.size).toBe(4);
  });

  it('compilers are judged by their own version, not by that of their package', () => {
    expect(tooOld('g++ (Debian 12.2.0-14+deb12u1) 12.2.0')).toBeNull();
    expect(tooOld('g++ (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0')).toBeNull();
    expect(tooOld('g++ (Ubuntu 9.4.0-1ubuntu1~20.04.2) 9.4.0')).toBe('g++ 9 was found');
    expect(tooOld('Debian clang version 14.0.6')).toBeNull();
    expect(tooOld('Ubuntu clang version 10.0.0-4ubuntu1')).toBe('clang++ 10 was found');
    expect(tooOld('Apple clang version 16.0.0 (clang-1600.0.26.6)')).toBeNull();
  });

  it('an idle GPU is pointed out', () => {
    const engine = { torchVersion: '2.15.0', build: 'cpu' } as const;
    expect(describeBuild(engine, false).advice).toBeNull();
    expect(describeBuild(engine, true).advice).toMatch(/moe-disco setup --device cuda/);
    expect(describeBuild({ ...engine, build: 'cuda' }, true).advice).toBeNull();
  });
});

/** What a folder with a libtorch in it is: version, build, C++ ABI, and which libraries to open in what order. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Build } from './platform.js';

export interface Libtorch {
  /** The folder that holds include/ and lib/. */
  folder: string;
  /** As the folder says: `2.15.0`, `2.11.0+cu130`. */
  version: string;
  build: Build;
}

/** File name of a shared library. */
export function libraryName(name: string): string {
  return `lib${name}.${process.platform === 'darwin' ? 'dylib' : 'so'}`;
}

const BACK_ENDS: readonly (readonly [Build, string])[] = [
  ['cuda', 'torch_cuda'],
  ['rocm', 'torch_hip'],
  ['xpu', 'torch_xpu'],
];

/**
 * Reads a folder given by the user, found in a Python or made by us. `folder` may be the one with include/ and
 * lib/ in it or the one above a `torch` of that shape. Returns what is missing, in words, when it is no libtorch.
 */
export function inspectLibtorch(folder: string): Libtorch | { missing: string } {
  const inner = join(folder, 'torch');
  const root = !existsSync(join(folder, 'lib')) && existsSync(join(inner, 'lib')) ? inner : folder;
  for (const part of [
    ['lib', libraryName('torch_cpu')],
    ['lib', libraryName('c10')],
    ['include', 'ATen'],
  ]) {
    if (!existsSync(join(root, ...part))) return { missing: join(root, ...part) };
  }
  const version = readVersion(root);
  if (version === null) return { missing: join(root, 'version.py') };
  const backEnd = BACK_ENDS.find(([, name]) => existsSync(join(root, 'lib', libraryName(name))));
  return { folder: root, version, build: backEnd?.[0] ?? 'cpu' };
}

/** The version in version.py (a Python package), build-version (a libtorch archive) or the headers. */
export function readVersion(root: string): string | null {
  const python = readIfThere(join(root, 'version.py'));
  const fromPython = /^__version__\s*=\s*['"](\d+\.\d+[^'"\s]*)['"]/m.exec(python)?.[1];
  if (fromPython !== undefined) return fromPython;
  const archive = readIfThere(join(root, 'build-version')).trim();
  if (/^\d+\.\d+\S*$/.test(archive)) return archive;
  const header = readIfThere(join(root, 'include', 'torch', 'headeronly', 'version.h'));
  const part = (name: string) => new RegExp(`#define TORCH_VERSION_${name} (\\d+)`).exec(header)?.[1];
  const parts = [part('MAJOR'), part('MINOR'), part('PATCH')];
  return parts.includes(undefined) ? null : parts.join('.');
}

function readIfThere(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

/** What changes when another libtorch is put into the same folder; cheap enough to look at on every start. */
export function identityOf(libtorch: Pick<Libtorch, 'folder'>): string {
  const size = (name: string) => statSync(join(libtorch.folder, 'lib', libraryName(name))).size;
  return `${readVersion(libtorch.folder)} ${size('torch_cpu')} ${size('c10')}`;
}

/** Whether libstdc++'s C++11 ABI was used: then the mangled names of strings carry its namespace. */
export function usesCxx11Abi(libtorch: Pick<Libtorch, 'folder'>): boolean {
  const path = join(libtorch.folder, 'lib', libraryName('c10'));
  return readFileSync(path).includes('NSt7__cxx1112basic_string');
}

/** Full paths of the libraries to open with their symbols visible to all, in order; back ends when present. */
export function librariesOf(folder: string): string[] {
  const names = ['c10', 'torch_cpu', ...BACK_ENDS.map(([, name]) => name)];
  const paths = names.map((name) => join(folder, 'lib', libraryName(name)));
  return paths.filter((path) => existsSync(path));
}

/** Compares major and minor of two versions: negative, zero or positive. */
export function compareMinor(a: string, b: string): number {
  const [aMajor = 0, aMinor = 0] = a.split('.').map((part) => Number.parseInt(part, 10));
  const [bMajor = 0, bMinor = 0] = b.split('.').map((part) => Number.parseInt(part, 10));
  return aMajor - bMajor || aMinor - bMinor;
}

import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findLibtorch, unfitness } from '../../src/setup/find.js';
import { compareMinor, inspectLibtorch, readVersion } from '../../src/setup/libtorch.js';
import { managedFolder } from '../../src/setup/managed.js';
import { layOutLibtorch, linux, pythonWithTorch, temporaryFolder } from './facts.js';

const loads = async () => null;

/** A machine with all three: DISCO_TORCH, a managed copy, a Python's torch. */
function machine() {
  const root = temporaryFolder();
  const cache = join(root, 'cache');
  const given = layOutLibtorch(join(root, 'given'), '2.14.0');
  const python = layOutLibtorch(join(root, 'site-packages', 'torch'), '2.11.0+cu130', 'torch_cuda');
  const path = pythonWithTorch(join(root, 'bin'), python);
  const facts = linux({ env: { PATH: `${path}:/bin`, DISCO_TORCH: given } });
  const managed = join(managedFolder(cache, 'cpu', facts), 'torch');
  layOutLibtorch(managed, '2.15.0+cu132');
  return { cache, given, managed, python, facts };
}

describe('order of search', () => {
  it('is DISCO_TORCH, managed copy, Python, none', async () => {
    const { cache, given, managed, python, facts } = machine();
    const search = () => findLibtorch(cache, 'cpu', facts, loads, () => {});
    expect(await search()).toEqual({ folder: given, version: '2.14.0', build: 'cpu', source: 'folder' });
    delete facts.env.DISCO_TORCH;
    expect(await search()).toMatchObject({ folder: managed, source: 'managed' });
    rmSync(managed, { recursive: true });
    const found = { folder: python, version: '2.11.0+cu130', build: 'cuda', source: 'python' };
    expect(await search()).toEqual(found);
    rmSync(python, { recursive: true });
    expect(await search()).toBeNull();
  });

  it('passes over all but the managed copy on request', async () => {
    const { cache, managed, facts } = machine();
    facts.env.DISCO_TORCH_SOURCE = 'managed';
    const search = () => findLibtorch(cache, 'cpu', facts, loads, () => {});
    expect(await search()).toMatchObject({ source: 'managed' });
    rmSync(managed, { recursive: true });
    expect(await search()).toBeNull();
    facts.env.DISCO_TORCH_SOURCE = 'conda';
    await expect(search()).rejects.toThrow(/DISCO_TORCH_SOURCE/);
  });

  it('passes over a CPU build where CUDA is wanted', async () => {
    const { cache, python, facts } = machine();
    delete facts.env.DISCO_TORCH;
    const search = () => findLibtorch(cache, 'cuda', facts, loads, () => {});
    expect(await search()).toMatchObject({ folder: python, build: 'cuda' });
    layOutLibtorch(join(managedFolder(cache, 'cuda', facts), 'torch'), '2.15.0', 'torch_cuda');
    expect(await search()).toMatchObject({ source: 'managed', build: 'cuda' });
  });

  it("says why a Python's torch is not used", async () => {
    const { cache, managed, python, facts } = machine();
    delete facts.env.DISCO_TORCH;
    rmSync(managed, { recursive: true });
    const said: string[] = [];
    const fails = async () => 'libcupti.so.13: cannot open shared object file';
    expect(await findLibtorch(cache, 'cpu', facts, fails, (line) => said.push(line))).toBeNull();
    writeFileSync(join(python, 'version.py'), "__version__ = '2.8.0'\n");
    expect(await findLibtorch(cache, 'cpu', facts, loads, (line) => said.push(line))).toBeNull();
    expect(said).toHaveLength(2);
    expect(said[0]).toMatch(/2\.11\.0.*libcupti/);
    expect(said[1]).toMatch(/2\.8\.0.*older than 2\.9/);
  });

  it('refuses a DISCO_TORCH that is none, too old or does not load', async () => {
    const { cache, given, facts } = machine();
    const search = (test = loads as () => Promise<string | null>) =>
      findLibtorch(cache, 'cpu', facts, test, () => {});
    await expect(search(async () => 'no such symbol')).rejects.toMatchObject({
      found: 'no such symbol',
      exitStatus: 2,
    });
    writeFileSync(join(given, 'version.py'), "__version__ = '2.8.1'\n");
    await expect(search()).rejects.toMatchObject({ found: 'older than 2.9' });
    rmSync(join(given, 'include'), { recursive: true });
    await expect(search()).rejects.toThrow(/names no libtorch/);
  });
});

describe('a libtorch', () => {
  it('may be given as the folder above', () => {
    const root = temporaryFolder();
    layOutLibtorch(join(root, 'torch'), '2.15.0');
    expect(inspectLibtorch(root)).toMatchObject({ folder: join(root, 'torch') });
  });

  it('tells its version in three ways', () => {
    const folder = layOutLibtorch(temporaryFolder(), '2.15.0a0+git1234');
    expect(readVersion(folder)).toBe('2.15.0a0+git1234');
    rmSync(join(folder, 'version.py'));
    expect(readVersion(folder)).toBeNull();
    writeFileSync(join(folder, 'build-version'), '2.12.1+cpu\n');
    expect(readVersion(folder)).toBe('2.12.1+cpu');
  });

  it('is taken from a Python between the oldest and the newest that are known', () => {
    const of = (version: string) => unfitness({ folder: '', version, build: 'cpu' }, 'cpu');
    expect(of('2.8.9')).toMatch(/older/);
    expect(of('2.9.0')).toBeNull();
    expect(of('2.15.1+cu132')).toBeNull();
    expect(of('2.16.0')).toMatch(/newer/);
    expect(of('3.0.0')).toMatch(/newer/);
    expect(compareMinor('2.10', '2.9')).toBeGreaterThan(0);
  });
});

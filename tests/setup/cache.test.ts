import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EnvironmentError, RequestError } from '../../src/errors.js';
import { cacheFolder, makeFolder, removeLeftovers, requireFreeDisk } from '../../src/setup/cache.js';
import { linux, temporaryFolder } from './facts.js';

describe('cache folder', () => {
  it('is DISCO_CACHE, else below XDG_CACHE_HOME, else below ~/.cache', () => {
    const at = (env: NodeJS.ProcessEnv) => cacheFolder(linux({ env }));
    expect(at({ DISCO_CACHE: '/d', XDG_CACHE_HOME: '/x' })).toBe('/d');
    expect(at({ XDG_CACHE_HOME: '/x' })).toBe('/x/moe-disco');
    expect(at({ XDG_CACHE_HOME: 'relative' })).toBe('/home/user/.cache/moe-disco');
    expect(at({})).toBe('/home/user/.cache/moe-disco');
    expect(() => at({ DISCO_CACHE: 'relative' })).toThrow(RequestError);
  });
});

describe('folders in it', () => {
  it('appear whole', async () => {
    const target = join(temporaryFolder(), 'thing');
    await makeFolder(target, async (folder) => {
      writeFileSync(join(folder, 'a'), '');
      expect(existsSync(target)).toBe(false);
    });
    expect(readdirSync(target)).toEqual(['a']);
  });

  it('or not at all, and leave nothing behind', async () => {
    const cache = temporaryFolder();
    const failing = makeFolder(join(cache, 'thing'), async (folder) => {
      writeFileSync(join(folder, 'a'), '');
      throw new Error('half way');
    });
    await expect(failing).rejects.toThrow('half way');
    expect(readdirSync(cache)).toEqual([]);
  });

  it('lose what a killed set-up left', () => {
    const cache = temporaryFolder();
    for (const name of ['.tmp-torch-1', '.tmp-addon-2', 'torch-2.15.0-cpu-x86_64'])
      mkdirSync(join(cache, name));
    expect(removeLeftovers(cache)).toBe(2);
    expect(readdirSync(cache)).toEqual(['torch-2.15.0-cpu-x86_64']);
  });

  it('are not begun on a disk that is too small', () => {
    const folder = temporaryFolder();
    expect(() => requireFreeDisk(folder, 1)).not.toThrow();
    expect(() => requireFreeDisk(folder, 1e18)).toThrow(EnvironmentError);
  });
});

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PINNED_TORCH, WHEELS } from '../../src/setup/pins.js';
import {
  certificateBundle,
  explainPip,
  pipArguments,
  pipEnvironment,
  requirements,
} from '../../src/setup/pip.js';
import { temporaryFolder } from './facts.js';

describe('pins', () => {
  it('locks every wheel by one SHA-256, torch at the pinned version first', () => {
    for (const { cpu, cuda, platforms } of Object.values(WHEELS)) {
      expect(platforms.length).toBeGreaterThan(0);
      expect(cpu[0]).toMatchObject({ name: 'torch', version: PINNED_TORCH });
      const all = [...cpu, ...cuda];
      expect(new Set(all.map((pin) => pin.name)).size).toBe(all.length);
      expect(new Set(all.map((pin) => pin.sha256)).size).toBe(all.length);
      for (const pin of all) expect(pin.sha256).toMatch(/^[0-9a-f]{64}$/);
    }
  });

  it('writes them as requirements with hashes', () => {
    const lines = requirements([{ name: 'a', version: '1.2', sha256: 'ff', bytes: 1 }]);
    expect(lines).toBe('a==1.2 --hash=sha256:ff\n');
  });
});

describe('pip', () => {
  it('is asked for exactly these wheels, patiently for no longer than a minute', () => {
    const args = pipArguments('/t/r.txt', ['manylinux_2_28_x86_64', 'manylinux2014_x86_64'], '/t/target');
    expect(args[0]).toBe('install');
    for (const flag of ['--require-hashes', '--no-deps', '--no-cache-dir', '--only-binary=:all:']) {
      expect(args).toContain(flag);
    }
    const valuesOf = (flag: string) => args.flatMap((arg, i) => (arg === flag ? [args[i + 1]] : []));
    expect(valuesOf('--retries')).toEqual(['1']);
    expect(valuesOf('--timeout')).toEqual(['15']);
    expect(valuesOf('--platform')).toEqual(['manylinux_2_28_x86_64', 'manylinux2014_x86_64']);
    expect(valuesOf('--target')).toEqual(['/t/target']);
    expect(valuesOf('-r')).toEqual(['/t/r.txt']);
  });

  it("keeps the user's proxy and index, and drops what contradicts a target folder", () => {
    const user = { HTTPS_PROXY: 'http://p:1', PIP_INDEX_URL: 'https://i/', PIP_USER: '1', PIP_TARGET: '/x' };
    const env = pipEnvironment(user, '/t', null);
    expect(env).toEqual({
      HTTPS_PROXY: 'http://p:1',
      PIP_INDEX_URL: 'https://i/',
      PIP_USER: '0',
      PIP_REQUIRE_VIRTUALENV: '0',
      TMPDIR: '/t',
    });
    expect(pipEnvironment({}, '/t', '/t/c.pem').PIP_CERT).toBe('/t/c.pem');
  });

  it('gets the extra certificates of Node unless it has been told its own', () => {
    const file = join(temporaryFolder(), 'extra.pem');
    writeFileSync(file, 'EXTRA');
    const env = { NODE_EXTRA_CA_CERTS: file };
    const bundle = certificateBundle(env, "global.timeout='15'\n");
    expect(bundle).toMatch(/BEGIN CERTIFICATE/);
    expect(bundle?.endsWith('\nEXTRA')).toBe(true);
    expect(certificateBundle({ ...env, PIP_CERT: '/own' }, '')).toBeNull();
    expect(certificateBundle(env, "global.cert='/own'\n")).toBeNull();
    expect(certificateBundle({}, '')).toBeNull();
    expect(certificateBundle({ NODE_EXTRA_CA_CERTS: '/not/there' }, '')).toBeNull();
  });

  it.each([
    ['ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.', /hash differs/],
    [
      'ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device',
      /disk is full/,
    ],
    [
      'WARNING: Retrying ... ConnectTimeoutError\nERROR: No matching distribution found for torch',
      /cannot be reached/,
    ],
    ['ERROR: No matching distribution found for torch==2.15.0', /does not have the wheel/],
  ])('explains %j', (stderr, message) => {
    const error = explainPip({ status: 1, stdout: '', stderr });
    expect(error.exitStatus).toBe(74);
    expect(error.message).toMatch(message);
    expect(error.found).toMatch(/^ERROR: /);
  });
});

import { describe, expect, it } from 'vitest';
import { RequestError } from '../../src/errors.js';
import {
  type Facts,
  gatherFacts,
  refuseUnsupported,
  serves,
  wantedBuild,
  wheelArch,
} from '../../src/setup/platform.js';
import { linux } from './facts.js';

describe('platforms', () => {
  const refused: [string, Partial<Facts>, RegExp][] = [
    ['native Windows', { platform: 'win32', glibc: null }, /WSL2/],
    ['Intel macOS', { platform: 'darwin', glibc: null }, /Intel macOS/],
    ['musl', { glibc: null }, /musl/],
    ['an old glibc', { glibc: '2.27' }, /glibc 2\.27 is too old/],
    ['another processor', { arch: 'riscv64' }, /riscv64/],
    ['another system', { platform: 'freebsd' }, /freebsd/],
  ];
  it.each(refused)('%s is refused in one line', (_name, changes, message) => {
    const attempt = () => refuseUnsupported(linux(changes));
    expect(attempt).toThrow(RequestError);
    expect(attempt).toThrow(message);
    expect(attempt).not.toThrow(/\n/);
  });

  it.each([{}, { arch: 'arm64' }, { platform: 'darwin', arch: 'arm64', glibc: null }, { glibc: '3.0' }])(
    'accepts %o',
    (changes) => {
      expect(() => refuseUnsupported(linux(changes))).not.toThrow();
    },
  );

  it('accepts the machine that runs this test', () => {
    expect(() => refuseUnsupported(gatherFacts())).not.toThrow();
  });

  it('names processors as wheels do', () => {
    expect(wheelArch(linux())).toBe('x86_64');
    expect(wheelArch(linux({ arch: 'arm64' }))).toBe('aarch64');
    expect(wheelArch(linux({ platform: 'darwin', arch: 'arm64' }))).toBe('arm64');
  });
});

describe('device choice', () => {
  it('takes CUDA by itself only where there is a GPU', () => {
    expect(wantedBuild('auto', linux())).toBe('cpu');
    expect(wantedBuild('auto', linux({ nvidiaGpu: true }))).toBe('cuda');
    expect(wantedBuild('cuda', linux())).toBe('cuda');
    expect(wantedBuild('cpu', linux({ nvidiaGpu: true }))).toBe('cpu');
    expect(() => wantedBuild('cuda', linux({ platform: 'darwin' }))).toThrow(/no CUDA on macOS/);
  });

  it('takes any build for the CPU, and only GPU builds for a GPU', () => {
    expect(serves('cuda', 'cpu')).toBe(true);
    expect(serves('cpu', 'cuda')).toBe(false);
    expect(serves('rocm', 'cuda')).toBe(true);
  });
});

/**
 * What set-up must know of the machine, gathered once and passed on as plain facts, so that every decision
 * below is a function of them and can be tested for machines that are not here.
 */
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { RequestError } from '../errors.js';

/** Which libtorch to have: `auto` takes the CUDA one where an NVIDIA GPU is present. */
export type DeviceChoice = 'cpu' | 'cuda' | 'auto';

/** What a libtorch was built for, read off the libraries that lie beside it. */
export type Build = 'cpu' | 'cuda' | 'rocm' | 'xpu';

export interface Facts {
  /** As `process.platform` and `process.arch`. */
  platform: string;
  arch: string;
  /** Version of glibc, `null` where the C library is another one or the system is not Linux. */
  glibc: string | null;
  nvidiaGpu: boolean;
  env: NodeJS.ProcessEnv;
  home: string;
}

/** The facts of this machine. Takes some 10 ms (the C library's version comes from Node's report). */
export function gatherFacts(env: NodeJS.ProcessEnv = process.env): Facts {
  return {
    platform: process.platform,
    arch: process.arch,
    glibc: process.platform === 'linux' ? glibcVersion() : null,
    nvidiaGpu: hasNvidiaGpu(env),
    env,
    home: env.HOME ?? homedir(),
  };
}

function glibcVersion(): string | null {
  // Without this the report looks up the name of every network interface.
  (process.report as { excludeNetwork?: boolean }).excludeNetwork = true;
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return report.header?.glibcVersionRuntime ?? null;
}

/** Whether the NVIDIA driver is there: its control device, a device of WSL2, or nvidia-smi on PATH. */
export function hasNvidiaGpu(env: NodeJS.ProcessEnv = process.env): boolean {
  // A container may be given the driver's files and no GPU, so the numbered devices are asked first.
  if (existsSync('/dev/nvidiactl')) return readdirSync('/dev').some((n) => /^nvidia\d+$/.test(n));
  if (existsSync('/dev/dxg') && existsSync('/usr/lib/wsl/lib/libcuda.so.1')) return true;
  return findOnPath('nvidia-smi', env) !== null;
}

/** Full path of an executable on PATH, or `null`. */
export function findOnPath(name: string, env: NodeJS.ProcessEnv): string | null {
  for (const folder of (env.PATH ?? '').split(delimiter)) {
    if (folder === '') continue;
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here: the next folder.
    }
  }
  return null;
}

const OLDEST_GLIBC = [2, 28] as const;

/**
 * Refuses, in one line, a machine for which there is no PyTorch wheel.
 * @throws RequestError on native Windows, Intel macOS, musl, an old glibc or another processor.
 */
export function refuseUnsupported(facts: Facts): void {
  const { platform, arch } = facts;
  if (platform === 'win32') {
    throw new RequestError('Native Windows is not supported: run moe-disco inside WSL2 (Ubuntu).');
  }
  if (platform === 'darwin' && arch !== 'arm64') {
    throw new RequestError('Intel macOS is not supported: PyTorch has no wheel for it any more.');
  }
  if (platform !== 'linux' && platform !== 'darwin') {
    throw new RequestError(
      `The platform ${platform} is not supported: Linux or Apple-silicon macOS is needed.`,
    );
  }
  if (arch !== 'x64' && arch !== 'arm64') {
    throw new RequestError(`The processor ${arch} is not supported: x86-64 or 64-bit ARM is needed.`);
  }
  if (platform !== 'linux') return;
  if (facts.glibc === null) {
    throw new RequestError(
      'Linux with musl (Alpine) is not supported: PyTorch needs glibc; use a Debian or Ubuntu image.',
    );
  }
  const [major = 0, minor = 0] = facts.glibc.split('.').map(Number);
  if (major < OLDEST_GLIBC[0] || (major === OLDEST_GLIBC[0] && minor < OLDEST_GLIBC[1])) {
    throw new RequestError(
      `glibc ${facts.glibc} is too old: PyTorch needs ${OLDEST_GLIBC.join('.')} or newer.`,
    );
  }
}

/**
 * The build that is wanted on this machine.
 * @throws RequestError for `cuda` on macOS.
 */
export function wantedBuild(device: DeviceChoice, facts: Facts): 'cpu' | 'cuda' {
  if (device === 'cuda' && facts.platform === 'darwin') {
    throw new RequestError('There is no CUDA on macOS.', { hint: 'moe-disco setup --device cpu' });
  }
  if (device === 'auto') return facts.nvidiaGpu && facts.platform === 'linux' ? 'cuda' : 'cpu';
  return device;
}

/** Whether a libtorch of `build` serves where `wanted` is asked for: every build also computes on the CPU. */
export function serves(build: Build, wanted: 'cpu' | 'cuda'): boolean {
  return wanted === 'cpu' || build === 'cuda' || build === 'rocm';
}

/** The processor's name as wheels and cache folders spell it. */
export function wheelArch(facts: Facts): string {
  if (facts.arch === 'x64') return 'x86_64';
  return facts.platform === 'darwin' ? 'arm64' : 'aarch64';
}

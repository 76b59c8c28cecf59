import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { libraryName } from '../../src/setup/libtorch.js';
import type { Facts } from '../../src/setup/platform.js';

/** Facts of an ordinary Linux machine without a GPU, with changes. */
export function linux(changes: Partial<Facts> = {}): Facts {
  const ordinary = {
    platform: 'linux',
    arch: 'x64',
    glibc: '2.36',
    nvidiaGpu: false,
    env: {},
    home: '/home/user',
  };
  return { ...ordinary, ...changes };
}

/** A temporary folder that goes with the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'disco-setup-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Lays out the files by which a libtorch is recognised; the libraries are empty. */
export function layOutLibtorch(folder: string, version: string, backEnd?: 'torch_cuda'): string {
  mkdirSync(join(folder, 'lib'), { recursive: true });
  mkdirSync(join(folder, 'include', 'ATen'), { recursive: true });
  writeFileSync(
    join(folder, 'version.py'),
    `from typing import Optional\n__version__ = '${version}'\ndebug = False\n`,
  );
  for (const name of ['torch_cpu', 'c10', ...(backEnd === undefined ? [] : [backEnd])]) {
    writeFileSync(join(folder, 'lib', libraryName(name)), '');
  }
  return folder;
}

/** A program of the name `python3` that says its `torch` lies in `torch`. Returns the folder to put on PATH. */
export function pythonWithTorch(folder: string, torch: string): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'python3'), `#!/bin/sh\necho '${torch}'\n`);
  chmodSync(join(folder, 'python3'), 0o755);
  return folder;
}

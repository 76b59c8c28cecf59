/**
 * `npm run check:asan`: builds the addon with AddressSanitizer against the libtorch that is set up, in a cache of
 * its own, and runs the fuzz test of the generated wrappers under it. DISCO_FUZZ_ROUNDS asks for more rounds.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const { ensureEngine } = await import('../dist/setup/index.js');
const { torchFolder } = await ensureEngine({ say: console.log });
const cache = mkdtempSync(join(tmpdir(), 'disco-asan-'));
const env = {
  ...process.env,
  DISCO_CACHE: cache,
  DISCO_TORCH: torchFolder,
  CXX: 'g++ -fsanitize=address -fno-omit-frame-pointer -g',
  LD_PRELOAD: execFileSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim(),
  DISCO_FUZZ_HUGE: '0',
  // Node and libtorch keep memory until the process ends, on purpose.
  ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1',
};
const options = { stdio: 'inherit', cwd: ROOT, env };
try {
  const setup = spawnSync(process.execPath, ['dist/cli/main.js', 'setup'], options);
  if (setup.status !== 0) process.exit(setup.status ?? 1);
  const { status } = spawnSync(
    'npx',
    ['vitest', 'run', 'tests/torch/fuzz.test.ts', 'tests/torch/tensor.test.ts'],
    options,
  );
  process.exitCode = status ?? 1;
} finally {
  rmSync(cache, { recursive: true, force: true });
}

/**
 * `npm run check:torch`: builds the addon against the oldest supported, the pinned and the newest libtorch and
 * runs the tests of the tensor layer, the model and the training on each. Every libtorch comes from its ordinary
 * wheel, installed by pip into the user cache beside the others.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const { OLDEST_TORCH, NEWEST_TORCH, PINNED_TORCH } = await import('../dist/setup/pins.js');
const CACHE =
  process.env.DISCO_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'moe-disco');
const PYTHON = process.env.PYTHON ?? 'python3';

function run(command, args, options = {}) {
  const { status } = spawnSync(command, args, { stdio: 'inherit', cwd: ROOT, ...options });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`);
}

/** The CUDA libraries that a wheel's libtorch_cpu links against, by its own requirements. */
function cudaRequirements(site, version) {
  const metadata = readFileSync(join(site, `torch-${version}.dist-info`, 'METADATA'), 'utf8');
  const exact = metadata.match(/^Requires-Dist: (nvidia-cuda-(runtime|cupti)-cu12==[\d.]+)/gm);
  return exact === null ? null : exact.map((line) => line.replace('Requires-Dist: ', ''));
}

/** Installs a version's wheel, and what its libtorch_cpu needs, once. */
function install(version) {
  const target = join(CACHE, `check-torch-${version}`);
  if (existsSync(target)) return join(target, 'torch');
  const making = `${target}.tmp-${process.pid}`;
  mkdirSync(making, { recursive: true });
  const pip = (...names) =>
    run(PYTHON, ['-m', 'pip', 'install', '-q', '--no-deps', '--no-cache-dir', '--target', making, ...names], {
      env: { ...process.env, PIP_USER: '0' },
    });
  try {
    pip(`torch==${version}`);
    const needed = cudaRequirements(making, version);
    if (needed !== null) pip(...needed);
    // Without the CUDA packages the CUDA half of the wheel cannot be loaded.
    const lib = join(making, 'torch', 'lib');
    for (const name of readdirSync(lib)) {
      if (/^lib(torch_cuda|torch_nvshmem|torch_python|nvperf)/.test(name)) rmSync(join(lib, name));
    }
    renameSync(making, target);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return join(target, 'torch');
}

const newest = `${NEWEST_TORCH}.0`;
const versions = [...new Set([`${OLDEST_TORCH}.0`, PINNED_TORCH, newest])];
const results = [];
for (const version of versions) {
  console.log(`\nlibtorch ${version}`);
  // The pinned one is what set-up installs.
  const own =
    version === PINNED_TORCH ? { DISCO_TORCH_SOURCE: 'managed' } : { DISCO_TORCH: install(version) };
  const env = { ...process.env, ...own };
  run(process.execPath, ['dist/cli/main.js', 'setup'], { env });
  const tests = ['tests/torch', 'tests/model', 'tests/train'];
  const { status } = spawnSync('npx', ['vitest', 'run', ...tests], { stdio: 'inherit', cwd: ROOT, env });
  results.push([version, status === 0 ? 'passed' : 'FAILED']);
}
console.log(`\n${results.map(([version, result]) => `libtorch ${version}: ${result}`).join('\n')}`);
process.exitCode = results.every(([, result]) => result === 'passed') ? 0 : 1;

/**
 * What `npm run demo`, `npm test` and `npm run disco` begin with: npm packages, then the TypeScript build, each
 * only when it is not up to date, then the command itself. It runs before anything is installed, so it uses
 * Node's own modules only. The engine (libtorch and the addon) is set up by the command: see src/setup.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const MAIN = join(ROOT, 'dist', 'cli', 'main.js');
const STAMP = join(ROOT, 'build', 'sources.json');
const say = (line) => console.error(line);

/** A message for the user and the exit status that goes with it. */
class Refusal extends Error {
  constructor(message, status = 2) {
    super(message);
    this.status = status;
  }
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const fits = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24;
  if (!fits)
    throw new Refusal(`Node ${process.versions.node} is not supported: 20.19, 22.12, 24 or newer is needed.`);
}

// The same refusals as in src/setup/platform.ts, here so that they come before npm has installed anything.
function checkPlatform() {
  if (process.platform === 'win32') {
    throw new Refusal('Native Windows is not supported: run moe-disco inside WSL2 (Ubuntu).');
  }
  if (process.platform === 'darwin' && process.arch !== 'arm64') {
    throw new Refusal('Intel macOS is not supported: PyTorch has no wheel for it any more.');
  }
  if (process.platform !== 'linux') return;
  process.report.excludeNetwork = true;
  if (process.report.getReport().header.glibcVersionRuntime === undefined) {
    throw new Refusal(
      'Linux with musl (Alpine) is not supported: PyTorch needs glibc; use a Debian or Ubuntu image.',
    );
  }
}

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** Runs a program on this terminal and returns its exit status. Signals that only we get are passed on to it. */
function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: 'inherit' });
    const forward = (signal) => {
      // A terminal sends Ctrl-C to the whole group, so the child has it already.
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    };
    for (const signal of FORWARDED) process.on(signal, forward);
    child.on('error', reject);
    child.on('close', (status, signal) => {
      for (const name of FORWARDED) process.off(name, forward);
      resolve(status ?? 128 + (constants.signals[signal] ?? 0));
    });
  });
}

async function step(what, command, args, failure) {
  const start = performance.now();
  say(`${what} ...`);
  const status = await run(command, args);
  if (status !== 0)
    throw new Refusal(`${what}: failed (exit status ${status}).`, status > 128 ? status : failure);
  say(`  done in ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

/** npm from a script runs the npm that ran the script; else the one on PATH. */
function npm() {
  const path = process.env.npm_execpath;
  return path?.endsWith('.js') ? [process.execPath, [path]] : ['npm', []];
}

const readJson = (path) => (existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : null);

/** npm writes its hidden lock file when an installation is complete: compared with ours, it says what is missing. */
function packagesMatch() {
  const wanted = readJson(join(ROOT, 'package-lock.json'))?.packages ?? {};
  const there = readJson(join(ROOT, 'node_modules', '.package-lock.json'))?.packages;
  if (there === undefined) return false;
  return Object.entries(wanted).every(([name, entry]) => {
    if (name === '') return true;
    if (there[name] === undefined) return entry.optional === true || entry.devOptional === true;
    return there[name].version === entry.version && there[name].integrity === entry.integrity;
  });
}

async function ensurePackages() {
  if (packagesMatch()) return;
  const [command, args] = npm();
  // NODE_ENV=production would leave out the compiler and the test runner.
  const flags = ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'];
  await step('Installing npm packages', command, [...args, ...flags], 74);
}

/** Path -> hash of everything that the build reads. */
function hashSources() {
  const files = readdirSync(join(ROOT, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  const all = [
    ...files,
    ...['tsconfig.json', 'tsconfig.build.json', 'package-lock.json'].map((f) => join(ROOT, f)),
  ];
  const hash = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');
  return Object.fromEntries(all.sort().map((path) => [path, hash(path)]));
}

async function ensureBuild() {
  const now = hashSources();
  const before = readJson(STAMP);
  if (existsSync(MAIN) && JSON.stringify(before) === JSON.stringify(now)) return;
  // The output of a source that is gone would stay.
  const gone = before === null || Object.keys(before).some((path) => now[path] === undefined);
  if (gone) rmSync(join(ROOT, 'dist'), { recursive: true, force: true });
  rmSync(STAMP, { force: true });
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  await step('Compiling TypeScript', process.execPath, [tsc, '-p', 'tsconfig.build.json'], 1);
  writeFileSync(STAMP, JSON.stringify(now));
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** When a process began, to tell it from a later one of the same number; `0` where /proc does not tell, '' for a zombie. */
function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? '' : fields[19];
  } catch {
    return '0';
  }
}

/** One bootstrap at a time in this folder; see src/setup/lock.ts, which does the same with more care. */
async function underLock(body) {
  const folder = join(ROOT, 'build');
  mkdirSync(folder, { recursive: true });
  const own = `bootstrap-${process.pid}-${startOf(process.pid)}.lock`;
  const others = () =>
    readdirSync(folder).filter((name) => {
      const [, pid, start] = /^bootstrap-(\d+)-(\d+)\.lock$/.exec(name) ?? [];
      if (pid === undefined || name === own) return false;
      const alive = isAlive(Number(pid)) && startOf(pid) === start;
      if (!alive) rmSync(join(folder, name), { force: true });
      return alive;
    });
  for (let said = false; ; said = true) {
    if (others().length === 0) {
      writeFileSync(join(folder, own), '');
      if (others().length === 0) break;
      rmSync(join(folder, own), { force: true });
    }
    if (!said) say('Waiting for another installation in this folder ...');
    await new Promise((resolve) => setTimeout(resolve, 200 + 300 * Math.random()));
  }
  try {
    return await body();
  } finally {
    rmSync(join(folder, own), { force: true });
  }
}

/** Runs the tests; the last line printed is the count, and no test at all is a failure. */
async function test(args) {
  const setup = await run(process.execPath, [MAIN, 'setup']);
  if (setup !== 0) return setup;
  const folder = mkdtempSync(join(tmpdir(), 'moe-disco-tests-'));
  try {
    const file = join(folder, 'result.json');
    const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
    const status = await run(process.execPath, [vitest, 'run', ...reporters, ...args]);
    const result = readJson(file);
    if (result === null) return status || 1;
    const skipped = result.numPendingTests + result.numTodoTests;
    // A file that cannot even be loaded holds no test that could fail.
    const broken = result.testResults.filter(
      (f) => f.status === 'failed' && f.assertionResults.length === 0,
    ).length;
    const failed = result.numFailedTests + broken;
    console.log(`${result.numPassedTests} passed, ${failed} failed, ${skipped} skipped`);
    if (failed > 0 || result.numPassedTests === 0) return status || 1;
    return status;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const COMMANDS = {
  install: async () => 0,
  demo: (args) => run(process.execPath, [MAIN, 'demo', ...args]),
  run: (args) => run(process.execPath, [MAIN, ...args]),
  test,
};

async function main([name = '', ...args]) {
  const command = COMMANDS[name];
  if (command === undefined) {
    throw new Refusal(`usage: node scripts/bootstrap.mjs ${Object.keys(COMMANDS).join('|')} [arguments]`);
  }
  checkNode();
  checkPlatform();
  await underLock(async () => {
    await ensurePackages();
    await ensureBuild();
  });
  return command(args);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  say(error.message);
  process.exitCode = error.status;
}

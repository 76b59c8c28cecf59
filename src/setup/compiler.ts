/** The C++ compiler: CXX, else what the system has, of a version that knows C++20. */
import { EnvironmentError } from '../errors.js';
import { findPip } from './pip.js';
import { type Facts, findOnPath } from './platform.js';
import { run } from './process.js';

export interface Compiler {
  /** The program and its first arguments, for example `['ccache', 'g++']`. */
  command: string[];
  /** The first line of its --version. */
  version: string;
}

const OLDEST = { 'g++': 11, 'clang++': 14 };

/**
 * Finds the compiler.
 * @throws EnvironmentError, in one line that says what to install (pip too where that is missing as well).
 */
export async function findCompiler(facts: Facts): Promise<Compiler> {
  const own = (facts.env.CXX ?? '').split(/\s+/).filter((word) => word !== '');
  const usual = facts.platform === 'darwin' ? ['clang++', 'c++', 'g++'] : ['g++', 'c++', 'clang++'];
  const found = usual.filter((name) => findOnPath(name, facts.env) !== null).map((name) => [name]);
  let reason = own.length > 0 ? `CXX (${own.join(' ')}) does not run` : 'none was found';
  for (const command of own.length > 0 ? [own] : found) {
    const [program = '', ...first] = command;
    const { status, stdout } = await run(program, [...first, '--version'], {
      env: facts.env,
      timeout: 30_000,
    });
    if (status !== 0) continue;
    const version = stdout.split('\n')[0] ?? '';
    const old = tooOld(version);
    if (old === null) return { command, version };
    reason = old;
  }
  throw new EnvironmentError(await missing(facts, reason));
}

/** Why the compiler with this first line of --version is too old, or `null`. */
export function tooOld(version: string): string | null {
  const kind = /clang/i.test(version) ? 'clang++' : 'g++';
  // g++ puts its distribution's own version in parentheses before its own.
  const number = /clang version (\d+)/i.exec(version)?.[1] ?? /(\d+)\.\d+\.\d+[^)]*$/.exec(version)?.[1];
  if (number === undefined || Number(number) >= OLDEST[kind]) return null;
  return `${kind} ${number} was found`;
}

async function missing(facts: Facts, reason: string): Promise<string> {
  if (facts.platform === 'darwin') return `A C++20 compiler is needed (${reason}): xcode-select --install`;
  const packages = (await findPip(facts.env)) === null ? 'g++ python3-pip' : 'g++';
  return `g++ 11 or newer is needed to build the engine (${reason}): apt-get install ${packages}`;
}

/** pip: finding a Python that has it, asking it for exactly the pinned wheels, and explaining its failures. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { EnvironmentError } from '../errors.js';
import { type Pin, WHEEL_PYTHON } from './pins.js';
import { type Facts, findOnPath } from './platform.js';
import { type Finished, run } from './process.js';

/** Python interpreters to ask, best first: those on PATH, then the system's own. */
export function pythonCandidates(env: NodeJS.ProcessEnv): string[] {
  const onPath = ['python3', 'python'].map((name) => findOnPath(name, env));
  const all = [...onPath, '/usr/bin/python3'].filter(
    (path): path is string => path !== null && existsSync(path),
  );
  return [...new Set(all)];
}

/** The first Python that has pip, or `null`. */
export async function findPip(env: NodeJS.ProcessEnv): Promise<string | null> {
  for (const python of pythonCandidates(env)) {
    const { status } = await run(python, ['-c', 'import pip'], { env, cwd: '/', timeout: 30_000 });
    if (status === 0) return python;
  }
  return null;
}

/** Why pip cannot be used, in one line that says what to install. */
export function missingPip(facts: Facts): EnvironmentError {
  const how =
    facts.platform === 'darwin'
      ? 'xcode-select --install'
      : "apt-get install python3-pip (or your system's like)";
  return new EnvironmentError(`Python 3 with pip is needed to install PyTorch, and was not found: ${how}`);
}

/** The lines of a requirements file for pip's --require-hashes. */
export function requirements(pins: readonly Pin[]): string {
  return pins.map((pin) => `${pin.name}==${pin.version} --hash=sha256:${pin.sha256}\n`).join('');
}

/**
 * pip's arguments: exactly the wheels of the requirements file, for the given platform tags whatever the Python
 * that runs pip, into `target`. An unreachable index is given up on within a minute instead of several.
 */
export function pipArguments(
  requirementsFile: string,
  platforms: readonly string[],
  target: string,
): string[] {
  return [
    ...[
      'install',
      '--no-input',
      '--disable-pip-version-check',
      '--no-cache-dir',
      '--no-compile',
      '--no-deps',
    ],
    ...['--retries', '1', '--timeout', '15', '--progress-bar', 'off'],
    ...['--only-binary=:all:', '--python-version', WHEEL_PYTHON, '--implementation', 'cp'],
    ...platforms.flatMap((platform) => ['--platform', platform]),
    ...['--require-hashes', '-r', requirementsFile, '--target', target],
  ];
}

// Settings of the user's pip that contradict an installation of given wheels into a given folder.
const CONTRADICTING = [
  'TARGET',
  'PREFIX',
  'ROOT',
  'CONSTRAINT',
  'REQUIREMENT',
  'EDITABLE',
  'NO_BINARY',
  'DRY_RUN',
];

/** pip's environment: the user's own (proxies, index, certificates), less what contradicts us. */
export function pipEnvironment(
  env: NodeJS.ProcessEnv,
  temporary: string,
  bundle: string | null,
): NodeJS.ProcessEnv {
  const result: NodeJS.ProcessEnv = { ...env, PIP_USER: '0', PIP_REQUIRE_VIRTUALENV: '0', TMPDIR: temporary };
  for (const name of CONTRADICTING) delete result[`PIP_${name}`];
  if (bundle !== null) result.PIP_CERT = bundle;
  return result;
}

/**
 * Node's NODE_EXTRA_CA_CERTS adds certificates, pip's PIP_CERT replaces them all: so the bundle made for pip
 * holds Node's own and the extra ones. `null` where pip has been told its certificates, or there are no extra ones.
 */
export function certificateBundle(env: NodeJS.ProcessEnv, pipConfiguration: string): string | null {
  const extra = env.NODE_EXTRA_CA_CERTS;
  if (extra === undefined || extra === '' || !existsSync(extra)) return null;
  const told = env.PIP_CERT ?? env.REQUESTS_CA_BUNDLE ?? env.CURL_CA_BUNDLE ?? '';
  if (told !== '' || /(^|\.)cert\s*=/m.test(pipConfiguration)) return null;
  return `${rootCertificates.join('\n')}\n${readFileSync(extra, 'utf8')}`;
}

// Runs pip as a module, leaving when the pipe to set-up closes, so that a killed set-up leaves no pip behind.
const PIP = `
import os, runpy, sys, threading
def leave_with_parent():
    os.read(0, 1)
    os._exit(75)
threading.Thread(target=leave_with_parent, daemon=True).start()
sys.argv[0] = 'pip'
runpy.run_module('pip', run_name='__main__', alter_sys=True)
`;

/**
 * Installs the pins into `target` with the pip of `python`; `temporary` is an existing folder on the same disk.
 * @throws EnvironmentError with pip's own last words when it fails.
 */
export async function pipInstall(
  python: string,
  pins: readonly Pin[],
  platforms: readonly string[],
  target: string,
  temporary: string,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  const file = join(temporary, 'requirements.txt');
  writeFileSync(file, requirements(pins));
  const configuration = await run(python, ['-m', 'pip', 'config', 'list'], { env, timeout: 30_000 });
  const bundle = certificateBundle(env, configuration.stdout);
  const bundleFile = bundle === null ? null : join(temporary, 'certificates.pem');
  if (bundleFile !== null) writeFileSync(bundleFile, bundle!);
  const finished = await run(python, ['-c', PIP, ...pipArguments(file, platforms, target)], {
    env: pipEnvironment(env, temporary, bundleFile),
  });
  if (finished.status !== 0) throw explainPip(finished);
}

const EXPLANATIONS: readonly (readonly [RegExp, string, string])[] = [
  [
    /DO NOT MATCH THE HASHES/i,
    'A downloaded file is not the one that is expected (its hash differs).',
    'run it again; if it stays, the package index or a proxy alters files',
  ],
  [
    /No space left|Errno 28/i,
    'The disk is full.',
    'free some space, or set DISCO_CACHE to a folder on a larger disk',
  ],
  [
    /CERTIFICATE_VERIFY_FAILED|SSLError/i,
    "The package index's certificate is not trusted.",
    "name your proxy's certificate in NODE_EXTRA_CA_CERTS or PIP_CERT",
  ],
  [
    /from versions: none|Retrying|Connection|ProxyError|timed out|Name or service|Temporary failure/i,
    'The package index cannot be reached.',
    'check the network (HTTPS_PROXY, PIP_INDEX_URL), or set DISCO_TORCH to a PyTorch that is already there',
  ],
  [
    /No matching distribution/i,
    "pip's package index does not have the wheel.",
    'check PIP_INDEX_URL, or set DISCO_TORCH to a PyTorch that is already there',
  ],
];

/** The error for a pip that failed. */
export function explainPip(finished: Finished): EnvironmentError {
  const lines = `${finished.stderr}\n${finished.stdout}`.split('\n').filter((line) => /\S/.test(line));
  const errors = lines.filter((line) => /^\s*(ERROR|error)\b/.test(line));
  const found = (errors.at(-1) ?? lines.at(-1) ?? `exit status ${finished.status}`).trim();
  const known = EXPLANATIONS.find(([pattern]) => pattern.test(lines.join('\n')));
  return new EnvironmentError(`pip could not install PyTorch. ${known?.[1] ?? ''}`.trim(), {
    found,
    hint: known?.[2] ?? 'run it again; set DISCO_TORCH to use a PyTorch that is already there',
  });
}

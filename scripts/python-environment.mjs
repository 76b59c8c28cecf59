/** A Python with given packages in a folder of their own in the user's cache, for the parity scripts. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** A failed step, whose own output has said why. */
export class Failed extends Error {}

/** Runs a program on this terminal. Throws Failed when it fails. */
export function run(what, command, args, env = process.env) {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: 'inherit', env });
    child.on('error', fail);
    child.on('close', (status, signal) => {
      if (status === 0) done();
      else fail(new Failed(`${what}: failed (${signal ?? `exit status ${status}`}).`));
    });
  });
}

/**
 * What runs Python with packages: a command and its environment. Installs them where they are missing; needs dist.
 *
 * @param given an interpreter that has them: nothing is installed then
 * @param wanted its `name` in the cache, the `requirements` with versions, the `freeBytes` that these take
 */
export async function pythonWith(given, { name, requirements, freeBytes }) {
  if (given !== undefined) return { command: given, env: process.env };
  const { cacheFolder, requireFreeDisk } = await import('../dist/setup/cache.js');
  const { findPip, missingPip } = await import('../dist/setup/pip.js');
  const command = await findPip(process.env);
  if (command === null) throw missingPip(process);
  const hash = createHash('sha256')
    .update([command, ...requirements].join('\n'))
    .digest('hex');
  const folder = join(cacheFolder({ env: process.env, home: homedir() }), `${name}-${hash.slice(0, 12)}`);
  const complete = join(folder, 'complete');
  if (!existsSync(complete)) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    requireFreeDisk(folder, freeBytes);
    console.log(`Installing ${requirements.join(', ')} into ${folder}: 3 GB to download on Linux`);
    const options = ['--no-input', '--disable-pip-version-check', '--no-cache-dir', '--no-compile'];
    await run('pip', command, ['-m', 'pip', 'install', ...options, '--target', folder, ...requirements]);
    writeFileSync(complete, '');
  }
  return { command, env: { ...process.env, PYTHONPATH: folder, PYTHONNOUSERSITE: '1' } };
}

/** Ends the program as the command line does: what failed has said why, what was foreseen says it here. */
export function exitWith(error) {
  if (error.exitStatus === undefined && !(error instanceof Failed)) throw error;
  console.error([error.message, error.hint].filter(Boolean).join('\n  '));
  process.exitCode = error.exitStatus ?? 1;
}

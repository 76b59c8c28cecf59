import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { isAlive, thisProcess } from '../../src/run/process-identity.js';

/** State and start of a process, as /proc tells. */
function stat(pid: number): { state: string; started: string } {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0]!, started: fields[19]! };
}

describe('a process', () => {
  it('lives; a later one of its number, and one of another machine, is not it', () => {
    const own = thisProcess();
    expect(isAlive(own)).toBe(true);
    expect(isAlive({ ...own, started: '1' })).toBe(false);
    expect(isAlive({ ...own, machine: 'another' })).toBeNull();
    expect(isAlive({ ...own, pid: 2 ** 22 + 1 })).toBe(false);
  });

  it.runIf(process.platform === 'linux')('that has ended and was not waited for is dead', async () => {
    // The shell becomes a sleep, which never waits for the child that it has inherited.
    const parent = spawn('sh', ['-c', 'sleep 0.1 & echo $!; exec sleep 30'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [line] = (await once(parent.stdout!, 'data')) as [Buffer];
    const pid = Number(line.toString());
    const zombie = { ...thisProcess(), pid, started: stat(pid).started };
    expect(isAlive(zombie)).toBe(true);
    while (stat(pid).state !== 'Z') await setTimeout(10);
    expect(process.kill(pid, 0)).toBe(true);
    expect(isAlive(zombie)).toBe(false);
    parent.kill('SIGKILL');
  });
});

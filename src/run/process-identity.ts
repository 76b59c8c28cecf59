/** Which process on which machine: enough to tell a living owner of a lock from a dead one. */
import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

export interface ProcessIdentity {
  host: string;
  /** Boot and process-number space. Equal `host` and `machine` mean that `pid` can be asked for here. */
  machine: string;
  pid: number;
  /** When the process started, in the system's own words; tells a reused number from the process itself. */
  started: string;
}

function attempt(read: () => string): string {
  try {
    return read().trim();
  } catch {
    return '';
  }
}

/** Start and state of a process on Linux (fields 22 and 3 of stat; the name before them may hold anything). */
function linuxProcess(pid: number): { started: string; zombie: boolean } | null {
  const stat = attempt(() => readFileSync(`/proc/${pid}/stat`, 'latin1'));
  if (stat === '') return null;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { started: fields[19] ?? '', zombie: fields[0] === 'Z' || fields[0] === 'X' };
}

function otherProcess(pid: number): { started: string; zombie: boolean } | null {
  const line = attempt(() =>
    execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], { encoding: 'utf8' }),
  );
  const parts = /^(\S+)\s+(.*)$/.exec(line);
  return parts === null ? null : { started: parts[2]!, zombie: parts[1]!.startsWith('Z') };
}

function look(pid: number): { started: string; zombie: boolean } | null {
  return process.platform === 'linux' ? linuxProcess(pid) : otherProcess(pid);
}

let own: ProcessIdentity | undefined;

/** This process. */
export function thisProcess(): ProcessIdentity {
  own ??= {
    host: hostname(),
    machine: [
      attempt(() => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1')),
      attempt(() => readlinkSync('/proc/self/ns/pid')),
    ].join(' '),
    pid: process.pid,
    started: look(process.pid)?.started ?? '',
  };
  return own;
}

/**
 * Whether another process still lives: true or false where this machine can know, null for a process of
 * another machine (or container).
 */
export function isAlive(other: ProcessIdentity): boolean | null {
  const here = thisProcess();
  if (other.host !== here.host || other.machine !== here.machine) return null;
  try {
    process.kill(other.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const found = look(other.pid);
  // It exists, but the system does not let us see it: believe that it lives.
  if (found === null) return true;
  return !found.zombie && found.started === other.started;
}

/**
 * One set-up at a time in one cache.
 *
 * A contender makes a file of its own, unique name, then lists the folder: seeing another live one, it removes
 * its own and waits. Of two that overlap, the later sees the earlier, so never do both go on; and since every
 * name is unique, removing the file of a dead process cannot hit anybody else's. A process of this host is
 * dead when its number is gone or belongs to one started at another time; one of another host when it has not
 * touched its file for a minute.
 */
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { withEnvironment } from './cache.js';
import type { Say } from './process.js';

const SUFFIX = '.lock';
const HEARTBEAT_MS = 10_000;
const SILENT_MS = 60_000;
const POLL_MS = 300;

interface Owner {
  host: string;
  pid: number;
  start: string;
}

const thisHost = (): string => hostname().replace(/[^A-Za-z0-9.-]/g, '_');

/**
 * What tells two processes of one number apart; `0` where the system does not tell, empty for a zombie (dead, and
 * in a container without an init process never taken away).
 */
function startOf(pid: number): string {
  try {
    // Field 22; the name in parentheses before it may hold blanks.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? '' : (fields[19] ?? '0');
  } catch {
    return '0';
  }
}

function fileName(owner: Owner): string {
  return `set-up_${owner.host}_${owner.pid}_${owner.start}${SUFFIX}`;
}

function parse(name: string): Owner | null {
  const match = /^set-up_(.+)_(\d+)_(\d+)\.lock$/.exec(name);
  return match === null ? null : { host: match[1]!, pid: Number(match[2]), start: match[3]! };
}

function isAlive(folder: string, name: string, owner: Owner): boolean {
  if (owner.host !== thisHost()) {
    try {
      return Date.now() - statSync(join(folder, name)).mtimeMs < SILENT_MS;
    } catch {
      return false;
    }
  }
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return owner.start === startOf(owner.pid);
}

/** The live contenders but `own`; files of dead ones are removed on the way. */
function others(folder: string, own: string): Owner[] {
  const live: Owner[] = [];
  for (const name of readdirSync(folder)) {
    const owner = name === own ? null : parse(name);
    if (owner === null) continue;
    if (isAlive(folder, name, owner)) live.push(owner);
    else rmSync(join(folder, name), { force: true });
  }
  return live;
}

/**
 * Runs `body` while no other process is inside for the same `folder`, which must exist. Waits as long as another
 * one lives, saying so once. Calls within one process queue up; a call from within `body` would wait for ever.
 */
export function withLock<T>(folder: string, say: Say, body: () => Promise<T>): Promise<T> {
  const turn = queue.then(() => underLock(folder, say, body));
  queue = turn.catch(() => {});
  return turn;
}

/** The last call of this process: its lock file names the process, so calls in one process must take turns. */
let queue: Promise<unknown> = Promise.resolve();

async function underLock<T>(folder: string, say: Say, body: () => Promise<T>): Promise<T> {
  const own = fileName({ host: thisHost(), pid: process.pid, start: startOf(process.pid) });
  const path = join(folder, own);
  let said = false;
  for (;;) {
    let [other] = others(folder, own);
    if (other === undefined) {
      withEnvironment(`Cannot write into the cache ${folder}`, () => closeSync(openSync(path, 'w')));
      [other] = others(folder, own);
      if (other === undefined) break;
      rmSync(path, { force: true });
    }
    if (!said) say(`Waiting for another set-up (process ${other.pid} on ${other.host}) ...`);
    said = true;
    // Two that met must not meet again and again.
    await new Promise((resolve) => setTimeout(resolve, POLL_MS * (0.5 + Math.random())));
  }
  const heartbeat = setInterval(() => {
    if (existsSync(path)) utimesSync(path, new Date(), new Date());
  }, HEARTBEAT_MS);
  heartbeat.unref();
  try {
    return await body();
  } finally {
    clearInterval(heartbeat);
    rmSync(path, { force: true });
  }
}

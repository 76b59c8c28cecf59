/** Processes as /proc tells of them. */
import { readdirSync, readFileSync } from 'node:fs';

interface Entry {
  pid: number;
  parent: number;
  /** When it began, to tell it from a later process of the same number. */
  started: string;
}

function entry(pid: number): Entry | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie has ended; it only waits for its parent to hear of it.
    if (fields[0] === 'Z' || fields[0] === 'X') return null;
    return { pid, parent: Number(fields[1]), started: fields[19]! };
  } catch {
    return null;
  }
}

/** The living processes that descend from `ancestor`. */
export function descendants(ancestor: number): Entry[] {
  const all = readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? (entry(Number(name)) ?? []) : []));
  const found: Entry[] = [];
  for (let parents = [ancestor]; parents.length > 0; ) {
    const children = all.filter(({ parent }) => parents.includes(parent));
    found.push(...children);
    parents = children.map(({ pid }) => pid);
  }
  return found;
}

/** Whether the same process still lives. */
export function isAlive({ pid, started }: Pick<Entry, 'pid' | 'started'>): boolean {
  return entry(pid)?.started === started;
}

/** Whether a process has a library in its memory. */
export function hasLoaded(pid: number, library: string): boolean {
  return readFileSync(`/proc/${pid}/maps`, 'latin1').includes(library);
}

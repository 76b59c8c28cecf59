/** All tasks and groups by the harness's names. */
import { RequestError } from '../../errors.js';
import { arcEasy } from './arc-easy.js';
import { hellaswag } from './hellaswag.js';
import { lambadaOpenai } from './lambada-openai.js';
import { mmluGroups, mmluTasks } from './mmlu.js';
import { piqa } from './piqa.js';
import type { Group, Task } from './task.js';
import { wikitext } from './wikitext.js';

const TASKS: ReadonlyMap<string, Task> = new Map(
  [arcEasy, piqa, hellaswag, lambadaOpenai, wikitext, ...mmluTasks].map((task) => [task.name, task]),
);
const GROUPS: ReadonlyMap<string, Group> = new Map(mmluGroups.map((group) => [group.name, group]));

/** What names stand for. */
export interface Selection {
  /** Each once, in the order in which they are first named. */
  tasks: readonly Task[];
  /** Groups whose tasks are all among them because the group was named: outer ones first. */
  groups: readonly Group[];
}

/**
 * Tasks and groups by name.
 * @throws RequestError for a name that is neither
 */
export function selectTasks(names: readonly string[]): Selection {
  const tasks = new Set<Task>();
  const groups = new Set<Group>();
  const add = (name: string): void => {
    const group = GROUPS.get(name);
    const task = TASKS.get(name);
    if (task !== undefined) tasks.add(task);
    else if (group !== undefined) {
      groups.add(group);
      for (const member of group.members) add(member);
    } else {
      throw new RequestError('There is no such task.', {
        key: '--tasks',
        expected: 'arc_easy, piqa, hellaswag, mmlu, mmlu_SUBJECT, lambada_openai, wikitext, with commas',
        found: name,
      });
    }
  };
  for (const name of names) add(name);
  return { tasks: [...tasks], groups: [...groups] };
}

/** The tasks of a group, those of its groups included. */
export function leavesOf(group: Group): Task[] {
  return group.members.flatMap((name) => {
    const inner = GROUPS.get(name);
    return inner === undefined ? [TASKS.get(name)!] : leavesOf(inner);
  });
}

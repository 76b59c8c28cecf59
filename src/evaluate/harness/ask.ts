/** What is asked for: tasks and groups, each with a number of shots, as users write it. */
import { RequestError } from '../../errors.js';
import { leavesOf, type Selection, selectTasks } from '../tasks/registry.js';

/** Tasks with their shots. */
export interface TaskSelection extends Selection {
  /** Task -> examples in its prompts. */
  shots: ReadonlyMap<string, number>;
}

/**
 * Reads `arc_easy:5`, `mmlu`: a task or group, and its shots where they are not those of all.
 *
 * @param shots where a name has none of its own
 * @throws RequestError for names and numbers that are none, and for a task that is asked for with different shots
 */
export function readTasks(entries: readonly string[], shots: number): TaskSelection {
  const parsed = entries.map((entry) => {
    const [name = '', number, ...more] = entry.trim().split(':');
    if (more.length === 0 && (number === undefined || /^\d{1,3}$/.test(number))) {
      return { name, shots: number === undefined ? shots : Number(number) };
    }
    throw new RequestError('This is no task with a number of shots.', {
      key: '--tasks',
      expected: 'TASK or TASK:SHOTS, such as arc_easy:5',
      found: entry,
    });
  });
  const chosen = new Map<string, number>();
  for (const { name, shots: wanted } of parsed) {
    const { tasks, groups } = selectTasks([name]);
    for (const task of [...tasks, ...groups.flatMap(leavesOf)]) {
      if ((chosen.get(task.name) ?? wanted) !== wanted) {
        throw new RequestError('A task is asked for with different numbers of shots.', {
          key: '--tasks',
          found: `${task.name}: ${chosen.get(task.name)} and ${wanted}`,
        });
      }
      chosen.set(task.name, wanted);
    }
  }
  return { ...selectTasks(parsed.map(({ name }) => name)), shots: chosen };
}

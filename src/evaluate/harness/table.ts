/** Results of several models as a table, and what of it is more than chance. */
import type { Section } from '../../report/layout.js';
import { leavesOf, type Selection } from '../tasks/registry.js';
import { type Group, HARNESS_VERSION, type Metric, type Task } from '../tasks/task.js';
import type { TaskResults } from './evaluate-folder.js';
import { groupSummary } from './results.js';
import type { TaskResult } from './task-result.js';

/** A model's results under the name it has in the table. */
export interface NamedResults {
  name: string;
  results: TaskResults;
}

/** One line: a metric of a task or group. */
interface Line {
  label: string;
  version: number;
  shots: number;
  metric: Metric;
  /** Of each model. */
  values: readonly { value: number; stderr: number | null }[];
  /** Accuracy of guessing. */
  chance: number | null;
  /** Of each model and question, where questions can be compared one by one. */
  measures: readonly (readonly number[])[] | null;
}

/** Differences smaller than so many standard errors are not told from none. */
const CERTAIN = 2;

/**
 * A table with value and standard error of each model, and with the difference of the last model from each other one
 * in standard errors of the difference, question by question.
 */
export function resultTable(selection: Selection, models: readonly NamedResults[]): Section {
  const lines = linesOf(selection, models);
  const notes: string[] = [];
  const atChance = new Set<string>();
  const rows = lines.map((line) => {
    const cells = line.values.map((value) => {
      const guessed = isGuessing(line, value);
      if (guessed) atChance.add(line.label);
      return `${number(line.metric, value.value)}${value.stderr === null ? '' : ` ± ${number(line.metric, value.stderr)}`}${guessed ? ' *' : ''}`;
    });
    const base = [line.label, String(line.version), String(line.shots), line.metric];
    return [...base, ...cells, ...differences(line, models.length)];
  });
  const last = models.at(-1)!.name;
  const others = models.slice(0, -1).map(({ name }) => `${name} - ${last}`);
  notes.push(
    `Tasks, prompts and versions as in lm-evaluation-harness ${HARNESS_VERSION}; ± is one standard error.`,
  );
  if (others.length > 0) {
    notes.push(
      `A difference is given with its own standard error, question by question; "yes" where it exceeds ${CERTAIN} of them, otherwise the two models are not told apart.`,
    );
  }
  if (atChance.size > 0) {
    notes.push('* within two standard errors of guessing: this says nothing about what the model knows.');
  }
  return {
    title: 'Tasks',
    table: {
      head: [
        'task',
        'version',
        'shots',
        'metric',
        ...models.map(({ name }) => name),
        ...others.flatMap((name) => [name, '> 2 s.e.']),
      ],
      rows,
    },
    notes,
  };
}

function isGuessing({ chance, metric }: Line, { value, stderr }: Line['values'][number]): boolean {
  if (chance === null || stderr === null || !metric.startsWith('acc')) return false;
  return Math.abs(value - chance) <= CERTAIN * stderr;
}

function differences({ metric, measures, values }: Line, models: number): string[] {
  const last = models - 1;
  return values.slice(0, last).flatMap(({ value }, i) => {
    const difference = value - values[last]!.value;
    if (measures === null) return [number(metric, difference, true), ''];
    const stderr = pairedError(measures[i]!, measures[last]!);
    const certain = Math.abs(difference) > CERTAIN * stderr;
    return [`${number(metric, difference, true)} ± ${number(metric, stderr)}`, certain ? 'yes' : 'no'];
  });
}

/** Standard error of the mean difference of paired measures. */
export function pairedError(a: readonly number[], b: readonly number[]): number {
  const n = a.length;
  const gaps = a.map((value, i) => value - b[i]!);
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / n;
  const squares = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0);
  return n > 1 ? Math.sqrt(squares / (n - 1) / n) : Number.POSITIVE_INFINITY;
}

function number(metric: Metric, value: number, signed = false): string {
  const text = metric.startsWith('acc') ? (100 * value).toFixed(2) : value.toFixed(value < 100 ? 4 : 1);
  return signed && value >= 0 ? `+${text}` : text;
}

/** Groups with what is in them, one level deeper each, then tasks that are in none. */
function linesOf({ tasks, groups }: Selection, models: readonly NamedResults[]): Line[] {
  const shown = new Set<string>();
  const lines: Line[] = [];
  const visit = (member: Task | Group, depth: number): void => {
    if (shown.has(member.name)) return;
    shown.add(member.name);
    if ('members' in member) {
      lines.push(groupLine(member, depth, models));
      for (const name of member.members) {
        const inner = groups.find((group) => group.name === name) ?? tasks.find((task) => task.name === name);
        if (inner !== undefined) visit(inner, depth + 1);
      }
    } else lines.push(...taskLines(member, depth, models));
  };
  const inGroup = new Set(groups.flatMap(leavesOf));
  for (const group of groups) visit(group, 0);
  for (const task of tasks) if (!inGroup.has(task)) visit(task, 0);
  return lines;
}

function taskLines(task: Task, depth: number, models: readonly NamedResults[]): Line[] {
  const found = models.map(({ results }) => results.get(task.name)!);
  return task.metrics.map((metric) => ({
    label: `${'  '.repeat(depth)}${task.alias}`,
    version: task.version,
    shots: found[0]!.shots,
    metric,
    values: found.map(({ summaries }) => summaries[metric]!),
    chance: task.chance === null ? null : chanceOf(found[0]!),
    measures: metric.startsWith('acc')
      ? found.map(({ samples }) => samples.map((sample) => sample.measures[metric] as number))
      : null,
  }));
}

function groupLine(group: Group, depth: number, models: readonly NamedResults[]): Line {
  const leaves = leavesOf(group);
  const found = models.map(({ results }) => leaves.map(({ name }) => results.get(name)!));
  return {
    label: `${'  '.repeat(depth)}${group.alias}`,
    version: group.version,
    shots: found[0]![0]!.shots,
    metric: 'acc',
    values: models.map(({ results }) => groupSummary(group, results)),
    chance: leaves[0]!.chance,
    measures: found.map((results) =>
      results.flatMap(({ samples }) => samples.map((sample) => sample.measures.acc as number)),
    ),
  };
}

/** Accuracy of guessing: the mean of one over the number of choices. */
function chanceOf({ samples }: TaskResult): number {
  return samples.reduce((sum, { scores }) => sum + 1 / scores.length, 0) / samples.length;
}

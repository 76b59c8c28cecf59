/** Results in the form in which the harness writes them: one object with results, groups, versions and settings. */
import type { Json } from '../../formats/hash.js';
import { leavesOf, type Selection } from '../tasks/registry.js';
import { type Group, HARNESS_VERSION, type Task } from '../tasks/task.js';
import { pooledError, type Summary } from './metrics.js';
import type { TaskResult } from './task-result.js';

/** The harness's mark for what it has no standard error of. */
const NONE = 'N/A';
/** The harness names the filter of answers behind each metric; log-likelihoods have none. */
const FILTER = 'none';

/** What the settings of an evaluation say about its model. */
export interface ModelFacts {
  /** Folder. */
  name: string;
  weights: string;
  dtype: string;
  maxLength: number;
  vocabSize: number;
  tokenizer: { file: string; sha256: string; prefix: { id: number; token: string } };
}

export interface Settings {
  seed: number;
  limit: number | null;
  device: string;
  program: string;
  /** Seconds of all tasks. */
  seconds: number;
  /** Date in seconds of the epoch. */
  date: number;
}

/** The value of a group: accuracies weighted by the number of questions, and their pooled standard error. */
export function groupSummary(
  group: Group,
  results: ReadonlyMap<string, TaskResult>,
): Summary & { size: number } {
  const parts = leavesOf(group).map(({ name }) => {
    const { summaries, samples } = results.get(name)!;
    return { ...summaries.acc!, size: samples.length };
  });
  const size = parts.reduce((sum, part) => sum + part.size, 0);
  const value = parts.reduce((sum, part) => sum + part.value * part.size, 0) / size;
  const known = parts.flatMap(({ stderr, size: count }) =>
    stderr === null ? [] : [{ stderr, size: count }],
  );
  return { value, size, stderr: known.length === parts.length ? pooledError(known) : null };
}

/**
 * The whole results file. Keys in the harness's order and spelling; what this program adds stands under `moe_disco`.
 *
 * @param results of every task of the selection
 */
export function harnessResults(
  selection: Selection,
  results: ReadonlyMap<string, TaskResult>,
  model: ModelFacts,
  settings: Settings,
): Json {
  const { tasks, groups } = selection;
  const all = tasks.map((task) => [task, results.get(task.name)!] as const);
  const taskEntries = all.map(([task, result]) => [task.name, taskEntry(task, result)] as const);
  const groupEntries = groups.map((group) => [group.name, groupEntry(group, results)] as const);
  const higher = (task: Task): Json =>
    Object.fromEntries(task.metrics.map((metric) => [metric, metric.startsWith('acc')]));
  const { tokenizer } = model;
  return {
    results: Object.fromEntries([...taskEntries, ...groupEntries]),
    ...(groups.length > 0 && { groups: Object.fromEntries(groupEntries) }),
    group_subtasks: Object.fromEntries(groups.map(({ name, members }) => [name, [...members]])),
    configs: Object.fromEntries(all.map(([task, result]) => [task.name, configEntry(task, result)])),
    versions: Object.fromEntries([...tasks, ...groups].map(({ name, version }) => [name, version])),
    'n-shot': Object.fromEntries([
      ...all.map(([task, result]) => [task.name, result.shots] as const),
      ...groups.map((group) => [group.name, results.get(leavesOf(group)[0]!.name)!.shots] as const),
    ]),
    higher_is_better: Object.fromEntries([
      ...tasks.map((task) => [task.name, higher(task)] as const),
      ...groups.map(({ name }) => [name, { acc: true }] as const),
    ]),
    'n-samples': Object.fromEntries(
      all.map(([task, result]) => [task.name, { original: result.total, effective: result.samples.length }]),
    ),
    config: {
      model: 'moe-disco',
      model_args: { pretrained: model.name, dtype: model.dtype },
      model_dtype: model.dtype,
      model_sha: model.weights,
      batch_size: 'auto',
      device: settings.device,
      limit: settings.limit,
      fewshot_seed: settings.seed,
    },
    date: settings.date,
    model_name: model.name,
    max_length: model.maxLength,
    eot_token_id: tokenizer.prefix.id,
    total_evaluation_time_seconds: String(settings.seconds),
    moe_disco: {
      version: settings.program,
      tasks_as_in_lm_eval: HARNESS_VERSION,
      tokenizer: { file: tokenizer.file, sha256: tokenizer.sha256, prefix_token: tokenizer.prefix.token },
      data: Object.assign({}, ...all.map(([, result]) => result.files)) as Json,
    },
  };
}

function taskEntry(task: Task, { summaries, samples }: TaskResult): Json {
  const entries = task.metrics.flatMap((metric): [string, Json][] => {
    const { value, stderr } = summaries[metric]!;
    return [
      [`${metric},${FILTER}`, value],
      [`${metric}_stderr,${FILTER}`, stderr ?? NONE],
    ];
  });
  return { name: task.name, alias: task.alias, sample_len: samples.length, ...Object.fromEntries(entries) };
}

function groupEntry(group: Group, results: ReadonlyMap<string, TaskResult>): Json {
  const { value, stderr, size } = groupSummary(group, results);
  return {
    alias: group.alias,
    name: group.name,
    sample_len: size,
    [`acc,${FILTER}`]: value,
    [`acc_stderr,${FILTER}`]: stderr ?? NONE,
    sample_count: { [`acc,${FILTER}`]: size },
  };
}

function configEntry(task: Task, { shots }: TaskResult): Json {
  return {
    task: task.name,
    dataset_path: task.set.hub,
    ...(task.subject !== undefined && { dataset_name: task.subject }),
    output_type: task.output,
    test_split: task.test,
    fewshot_split: task.shots.split,
    description: task.description,
    target_delimiter: ' ',
    fewshot_delimiter: '\n\n',
    num_fewshot: shots,
    metadata: { version: task.version },
  };
}

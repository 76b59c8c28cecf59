/** Tasks over a model whose weights follow from a seed, against what lm-evaluation-harness made of it. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EvalData } from '../../src/evaluate/data/eval-data.js';
import { readTasks } from '../../src/evaluate/harness/ask.js';
import {
  evaluateFolder,
  type FolderEvaluation,
  type TaskResults,
} from '../../src/evaluate/harness/evaluate-folder.js';
import { pairedError, resultTable } from '../../src/evaluate/harness/table.js';
import { makeQuestions } from '../../src/evaluate/tasks/prompts.js';
import { expectNoLeaks } from '../torch/leaks.js';
import golden from './golden/harness.json' with { type: 'json' };
import { writeSeedModel } from './golden/seed-model.js';

expectNoLeaks();
const SHIPPED = fileURLToPath(new URL('../../data/eval/', import.meta.url));
const TASKS = golden.made.command.split(' ').at(-2)!;
const scores: Record<string, unknown> = golden.scores;
const prompts: Record<string, unknown> = golden.prompts;
const results: Record<string, Record<string, unknown>> = golden.results;

let root: string;
let request: FolderEvaluation;
let found: TaskResults;
const said: string[] = [];
const stop = { requested: false, reason: 'SIGTERM' };
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'harness-'));
  for (const [set, splits] of Object.entries(golden.rows)) {
    mkdirSync(join(root, 'data', set), { recursive: true });
    for (const [split, rows] of Object.entries(splits)) {
      const text = (rows as unknown[]).map((row) => `${JSON.stringify(row)}\n`).join('');
      writeFileSync(join(root, 'data', set, `${split}.jsonl`), text);
    }
  }
  await writeSeedModel(join(root, 'model'));
  request = {
    folder: join(root, 'model'),
    into: join(root, 'results'),
    selection: readTasks(TASKS.split(','), 0),
    data: new EvalData([join(root, 'data'), SHIPPED]),
    limit: 3,
    seed: 1234,
    bootstrap: 1000,
    device: 'cpu',
    program: 'test',
    reporter: { progress: () => {}, say: (text) => void said.push(text) },
    stop,
  };
  found = await evaluateFolder(request);
}, 60_000);
afterAll(() => rmSync(root, { recursive: true }));

describe('against the harness', () => {
  it.each(Object.keys(scores))('%s: every log-likelihood and greedy flag', (task) => {
    const expected = scores[task] as [number, boolean][][];
    const { samples } = found.get(task)!;
    expect(samples.map((sample) => sample.scores.length)).toEqual(expected.map((answers) => answers.length));
    samples.forEach((sample, i) => {
      sample.scores.forEach(({ logLikelihood, greedy }, j) => {
        const [value, isGreedy] = expected[i]![j]!;
        expect(Math.abs(logLikelihood - value), `question ${i}, answer ${j}`).toBeLessThan(
          1e-4 * Math.abs(value),
        );
        if (task !== 'wikitext') expect(greedy).toBe(isGreedy);
      });
    });
  });

  it.each(Object.keys(prompts))('%s: the first prompt and its continuations', async (task) => {
    const { selection, data, limit, seed } = request;
    const shots = selection.shots.get(task)!;
    const one = selection.tasks.find(({ name }) => name === task)!;
    const [question] = (await makeQuestions(one, data, { shots, limit, seed })).questions;
    const { context, continuations } = question!;
    const asked = task === 'wikitext' ? [[continuations[0]]] : continuations.map((text) => [context, text]);
    expect(asked).toEqual(prompts[task]);
  });

  it('results, errors and versions in its own form', () => {
    const written = JSON.parse(readFileSync(join(request.into, 'results.json'), 'utf8'));
    for (const [task, entry] of Object.entries(results)) {
      for (const [key, value] of Object.entries(entry)) {
        const own = written.results[task][key];
        // The golden run resampled a hundred times as often.
        if (key === 'perplexity_stderr,none') expect(own).toBeGreaterThan(0);
        else if (typeof value === 'number')
          expect(own / value || own - value, `${task} ${key}`).toBeCloseTo(value === 0 ? 0 : 1, 4);
        else expect(own, `${task} ${key}`).toEqual(value);
      }
    }
    expect(written.versions).toMatchObject({ arc_easy: 1, wikitext: 2 });
    expect(written['n-samples'].arc_easy).toEqual({ original: 2376, effective: 3 });
  });
});

describe('an evaluation', () => {
  it('finds what is done, and does again what was asked otherwise', async () => {
    const file = join(request.into, 'arc_easy.json');
    const before = statSync(file).mtimeMs;
    said.length = 0;
    await evaluateFolder(request);
    expect(said).toHaveLength(request.selection.tasks.length);
    expect(statSync(file).mtimeMs).toBe(before);
    const fewer = await evaluateFolder({ ...request, selection: readTasks(['arc_easy:1'], 0) });
    expect(fewer.get('arc_easy')!.shots).toBe(1);
    expect(statSync(file).mtimeMs).toBeGreaterThan(before);
  });

  it('keeps finished tasks when it is stopped, and a damaged file is made anew', async () => {
    const into = join(root, 'stopped');
    const selection = readTasks(['hellaswag', 'piqa'], 0);
    stop.requested = false;
    const reporter = {
      say: () => {},
      progress: ({ stage }: { stage: string }) => {
        stop.requested = stage === 'piqa';
      },
    };
    await expect(evaluateFolder({ ...request, into, selection, reporter })).rejects.toMatchObject({
      exitStatus: 75,
    });
    stop.requested = false;
    writeFileSync(join(into, 'piqa.json'), '{"format": 1}');
    said.length = 0;
    await evaluateFolder({ ...request, into, selection });
    expect(said).toEqual(['hellaswag: was done already']);
  });

  it('refuses unknown tasks and shots', () => {
    expect(() => readTasks(['arc'], 0)).toThrow(/no such task/);
    expect(() => readTasks(['piqa:x'], 0)).toThrow(/number of shots/);
    expect(() => readTasks(['mmlu:5', 'mmlu_anatomy:0'], 0)).toThrow(/different numbers/);
  });
});

describe('the table', () => {
  it('says what is guessing and which differences are more than two standard errors', () => {
    const { selection } = request;
    const task = selection.tasks.find(({ name }) => name === 'arc_easy')!;
    const made = (right: (i: number) => boolean): TaskResults => {
      const sample = found.get('arc_easy')!.samples[0]!;
      const samples = Array.from({ length: 100 }, (_, i) => {
        const acc = Number(right(i));
        return { ...sample, document: i, measures: { acc, acc_norm: acc } };
      });
      const value = samples.reduce((sum, { measures }) => sum + measures.acc, 0) / 100;
      const summary = { value, stderr: Math.sqrt((value * (1 - value)) / 99) };
      const summaries = { acc: summary, acc_norm: summary };
      return new Map([['arc_easy', { ...found.get('arc_easy')!, samples, summaries }]]);
    };
    const only = { ...selection, tasks: [task], groups: [] };
    const { table, notes } = resultTable(only, [
      { name: 'a', results: made((i) => i % 2 === 0) },
      { name: 'b', results: made((i) => i % 4 === 0) },
    ]);
    expect(table!.rows[0]).toEqual(
      ['arc_easy', '1', '0', 'acc', '50.00 ± 5.03', '25.00 ± 4.35 *', '+25.00 ± 4.35', 'yes'].map(
        (cell, i) => (i === 2 ? String(request.selection.shots.get('arc_easy')) : cell),
      ),
    );
    expect(notes!.join(' ')).toContain('within two standard errors of guessing');
    expect(pairedError([1, 0], [1, 0])).toBe(0);
  });
});

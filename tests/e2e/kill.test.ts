/**
 * Kill and resume: the tiny recipe five times, each run killed four times at seeded moments, the supervisor or
 * the worker. Whatever happens, the run goes on to the weights and the metrics of an undisturbed one, bit for bit.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Kill, type Killed, killOnce, metricsOf, startTiny, weightsOf } from './harness.js';
import { randomOf } from './random.js';

type Moment = [stage: string, when: Kill['when']];

/** Stages in the order in which a run comes to them; steps are drawn where a training is killed. */
const PLANS: readonly (readonly Moment[])[] = [
  [
    ['corpus', 'begun'],
    ['submodels/0', 5],
    ['finetuned', 5],
    ['baseline', 10],
  ],
  [
    ['partition', 'begun'],
    ['submodels/1', 5],
    ['merged', 'begun'],
    ['baseline', 5],
  ],
  [
    ['init', 'before-done'],
    ['submodels/0', 10],
    ['finetuned', 5],
    ['evaluation', 'begun'],
  ],
  [
    ['submodels/0', 5],
    ['submodels/1', 10],
    ['finetuned', 'before-done'],
    ['comparison', 'before-done'],
  ],
  [
    ['submodels/1', 5],
    ['finetuned', 10],
    ['baseline', 5],
    ['baseline', 15],
  ],
];

const base = mkdtempSync(join(tmpdir(), 'disco-kill-'));
const all: Killed[] = [];
let undisturbed: Record<string, string>;
let metrics: Record<string, unknown[]>;

beforeAll(async () => {
  const folder = join(base, 'undisturbed');
  const { status, stderr } = await startTiny(folder).outcome;
  expect(status, stderr).toBe(0);
  undisturbed = weightsOf(folder);
  metrics = metricsOf(folder);
  expect(metrics.baseline).toHaveLength(30 + 4);
}, 300_000);

afterAll(() => rmSync(base, { recursive: true, force: true }));

it.each(PLANS.map((plan, index) => ({ run: index + 1, plan })))(
  'run $run, killed four times, ends with the same weights and metrics',
  async ({ run, plan }) => {
    const folder = join(base, `run-${run}`);
    const random = randomOf(run);
    for (const [stage, when] of plan) {
      const kill: Kill = {
        stage,
        when,
        // Short beside what a training of this size takes between checkpoints.
        delay: Math.floor(random() * 12),
        victim: random() < 0.5 ? 'supervisor' : 'worker',
      };
      const killed = await killOnce(folder, kill);
      all.push(killed);
      const where = typeof when === 'number' ? `after the checkpoint of step ${when}` : when;
      const found = `${killed.inside ? 'inside' : 'too late'}${killed.afterCheckpoint ? ', with a checkpoint' : ''}`;
      console.log(`seed ${run}: ${stage}, ${where}, ${kill.delay} ms later, the ${kill.victim}: ${found}`);
      expect(killed.survivors, 'workers that outlive their supervisor').toEqual([]);
      if (kill.victim === 'supervisor') expect(killed.outcome.signal).toBe('SIGKILL');
      else if (killed.inside) expect(killed.outcome.status, killed.outcome.stderr).toBe(74);
    }
    const { status, stderr } = await startTiny(folder).outcome;
    expect(status, stderr).toBe(0);
    expect(weightsOf(folder)).toEqual(undisturbed);
    expect(metricsOf(folder)).toEqual(metrics);
  },
  300_000,
);

it('the kills fell where they are worth something', () => {
  const inside = all.filter((killed) => killed.inside);
  const stages = new Set(inside.map(({ stage }) => stage.split('/')[0]));
  expect([...stages].sort()).toEqual(
    [
      'baseline',
      'comparison',
      'corpus',
      'evaluation',
      'finetuned',
      'init',
      'merged',
      'partition',
      'submodels',
    ].sort(),
  );
  const inTraining = inside.filter(
    ({ when, afterCheckpoint }) => typeof when === 'number' && afterCheckpoint,
  );
  expect(inTraining.length).toBeGreaterThanOrEqual(8);
  expect(inside.some(({ stage, when }) => stage === 'finetuned' && when === 'before-done')).toBe(true);
  expect(new Set(all.map(({ victim }) => victim)).size).toBe(2);
});

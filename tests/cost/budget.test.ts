import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { BudgetedStop } from '../../src/cost/budget.js';
import { BudgetError } from '../../src/errors.js';
import { StopRequest } from '../../src/launch/stop.js';
import { loadRecipe, toYaml } from '../../src/recipe/load.js';
import { RunFolder } from '../../src/run/folder.js';
import { LedgerWriter } from '../../src/run/ledger.js';

const root = mkdtempSync(join(tmpdir(), 'disco-budget-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const tiny = fileURLToPath(new URL('../../recipes/tiny.yaml', import.meta.url));
let said: string[] = [];
let runs = 0;
beforeEach(() => {
  said = [];
});

/** A run at 3.6 dollars an hour, a tenth of a cent each second, with `billed` seconds in its stages' ledgers. */
function begin(overrides: string[], billed: Record<string, number[]> = {}) {
  const { recipe } = loadRecipe(tiny, ['cost.machineDollarsPerHour=3.6', ...overrides]);
  const run = RunFolder.create(join(root, String(runs++)), toYaml(recipe));
  const bill = (stage: string, attempt: number, seconds: number) => {
    const ledger = new LedgerWriter(join(run.root, stage), { stage, attempt, device: 'cpu' });
    ledger.append({ seconds });
    ledger.close();
    // What marks a folder as a stage that has begun.
    writeFileSync(join(run.root, stage, 'manifest.json'), '{}');
  };
  for (const [stage, attempts] of Object.entries(billed)) {
    attempts.forEach((seconds, i) => {
      bill(stage, i + 1, seconds);
    });
  }
  const stop = new StopRequest();
  const context = { run, recipe, stop, reporter: { say: (text: string) => said.push(text), progress() {} } };
  let clock = 1000;
  const budgeted = (stage: string) => new BudgetedStop(context, stage, () => clock);
  return {
    stop,
    bill,
    budgeted,
    wait: (seconds: number) => {
      clock += seconds;
    },
  };
}

describe('a budget', () => {
  it('that is not set never stops anything', () => {
    const { budgeted, wait, stop } = begin([]);
    const signal = budgeted('baseline');
    wait(1e9);
    expect([signal.requested, signal.reason]).toEqual([false, '']);
    signal.refuse();
    stop.request('SIGTERM');
    expect([signal.requested, signal.reason]).toEqual([true, 'SIGTERM']);
  });

  it('of dollars counts every attempt of every stage, warns once at 80 %, and stops at the cap', () => {
    const { budgeted, wait } = begin(['budget.usd=0.1'], { corpus: [10], baseline: [20, 30] });
    const signal = budgeted('baseline');
    wait(19);
    expect(signal.requested).toBe(false);
    expect(said).toEqual([]);
    wait(2);
    expect([signal.requested, signal.requested]).toEqual([false, false]);
    expect(said).toEqual(['Warning: $0.0810 of $0.100 used (budget.usd).']);
    wait(18.9);
    expect(signal.requested).toBe(false);
    wait(0.2);
    expect(signal.requested).toBe(true);
    expect(signal.reason).toBe('budget.usd of $0.100 is used up');
  });

  it('of hours is one of billed hours', () => {
    const { budgeted, wait } = begin(['budget.hours=0.01'], { 'submodels/0': [30] });
    const signal = budgeted('submodels/1');
    wait(5.9);
    expect(signal.requested).toBe(false);
    wait(0.2);
    expect(signal.reason).toBe('budget.hours of 0.0100 h is used up');
  });

  it('of an expert counts that expert only', () => {
    const billed = { 'submodels/0': [25], 'submodels/1': [5] };
    const { budgeted, wait } = begin(['budget.perExpert.usd=0.03'], billed);
    const [zero, one, other] = ['submodels/0', 'submodels/1', 'finetuned'].map(budgeted);
    wait(6);
    expect([zero!.requested, one!.requested, other!.requested]).toEqual([true, false, false]);
    wait(20);
    expect([one!.requested, other!.requested]).toEqual([true, false]);
  });

  it('learns what siblings have used meanwhile', () => {
    const { budgeted, wait, bill } = begin(['budget.usd=0.1']);
    const signal = budgeted('submodels/0');
    bill('submodels/1', 1, 90);
    wait(15);
    expect(signal.requested).toBe(false);
    wait(15);
    expect(signal.requested).toBe(true);
  });

  it('that is used up ends with 76, naming key, cap and use; a stop that was asked for comes first', () => {
    const { budgeted, wait, stop } = begin(['budget.usd=0.01']);
    const signal = budgeted('baseline');
    wait(12);
    const refusal = () => signal.refuse(new Error('baseline: stopped and saved after step 4 of 30.'));
    expect(refusal).toThrow(BudgetError);
    expect(refusal).toThrow(
      expect.objectContaining({
        exitStatus: 76,
        message: 'baseline: stopped and saved after step 4 of 30.',
        key: 'budget.usd',
        expected: 'at most $0.0100',
        found: '$0.0120',
        hint: expect.stringContaining('budget.usd=MORE'),
      }),
    );
    stop.request('SIGTERM');
    signal.refuse();
  });
});

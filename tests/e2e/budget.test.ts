/** The real command with a cap: it stops and saves with 76, and goes on from there when the cap is raised. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { start } from '../cli/spawn.js';
import { checkpointOf, metricsOf, weightsOf } from './harness.js';

const root = mkdtempSync(join(tmpdir(), 'disco-budget-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const run = (folder: string, ...overrides: string[]) =>
  start(['run', 'tiny', '--into', folder, ...overrides]).outcome;

it('a run that reaches its cap ends with 76 and goes on to the same bits when the cap is raised', async () => {
  const [capped, free] = [join(root, 'capped'), join(root, 'free')];
  const undisturbed = run(free);
  // 36,000 dollars an hour, 10 a second: by the second cap the first submodel has begun or is not yet done.
  const dear = ['cost.machineDollarsPerHour=36000', 'train.submodels.steps=20'];
  const first = await run(capped, ...dear, 'budget.perExpert.usd=1.5');
  expect(first.status, first.stderr).toBe(76);
  expect(first.stderr).toContain('budget.perExpert.usd');
  expect(first.stderr).toContain('to go on: moe-disco run');
  const step = checkpointOf(capped, 'submodels/0');
  expect(step).toBeLessThan(20);
  const again = await run(capped, ...dear, 'budget.perExpert.usd=1.5');
  expect(again.status).toBe(76);
  const last = await run(capped, ...dear);
  expect(last.status, last.stderr).toBe(0);
  expect((await undisturbed).status).toBe(0);
  expect(weightsOf(capped)).toEqual(weightsOf(free));
  expect(metricsOf(capped)).toEqual(metricsOf(free));
}, 300_000);

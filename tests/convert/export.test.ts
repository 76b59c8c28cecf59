/** The model of a run as a folder for others. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { exportStage } from '../../src/convert/export.js';
import { inspectFolder } from '../../src/convert/inspect.js';
import { readJson } from '../../src/formats/atomic.js';
import { hashFile } from '../../src/formats/hash.js';
import { hashOf } from '../../src/run/done.js';
import { requireDone } from '../../src/run/require.js';
import { trainSubmodel } from '../../src/train/stage.js';
import { type SmallRun, smallRun, tensorsOf } from '../runs.js';
import { expectNoLeaks } from '../torch/leaks.js';
import { surroundings } from './models.js';

expectNoLeaks();

let root: string;
let small: SmallRun;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'export-'));
  small = await smallRun(join(root, 'run'));
  await trainSubmodel(small.context, 1);
});
afterAll(() => rmSync(root, { recursive: true }));

const exported = (stage: string, into: string) =>
  exportStage(
    { ...small.context, stage, into: join(root, into), command: 'moe-disco export', maxShardBytes: 50_000 },
    surroundings(),
  );

it('has the weights, the tokenizer with what AutoTokenizer needs, and a card with recipe, data and parents', async () => {
  const { run } = small.context;
  await exported('submodels/1', 'new');
  expect(tensorsOf(join(root, 'new'))).toEqual(tensorsOf(run.stageFolder('submodels/1')));
  expect(inspectFolder(join(root, 'new')).weights!.files.length).toBeGreaterThan(1);
  const tokenizer = readFileSync(run.stage('corpus').path('tokenizer.json'));
  expect(readFileSync(join(root, 'new', 'tokenizer.json')).equals(tokenizer)).toBe(true);
  expect(readJson(join(root, 'new', 'tokenizer_config.json'))).toMatchObject({
    tokenizer_class: 'PreTrainedTokenizerFast',
  });
  expect(existsSync(join(root, 'new', 'generation_config.json'))).toBe(true);
  const card = readFileSync(join(root, 'new', 'README.md'), 'utf8');
  const { sha256 } = await hashFile(join(run.stageFolder('submodels/1'), 'model.safetensors'));
  for (const part of [
    sha256,
    'run/submodels/1',
    readFileSync(run.recipeFile, 'utf8').trim(),
    hashOf(requireDone(run, 'corpus'), 'train'),
    'Last training: 2 steps',
    'torch 2.',
  ])
    expect(card).toContain(part);
});

it('refuses stages without a model and stages that are not finished', async () => {
  await expect(exported('corpus', 'none')).rejects.toMatchObject({
    exitStatus: 2,
    key: '--stage',
    found: 'corpus',
  });
  await expect(exported('submodels/2', 'none')).rejects.toMatchObject({
    exitStatus: 2,
    hint: expect.stringContaining('--expert 2'),
  });
  expect(existsSync(join(root, 'none'))).toBe(false);
});

/**
 * Finished work that was cut, changed, mixed up or is in use: refused with one message by the stage that would read
 * it; brought back, the stage goes on to the same bits.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { start, until } from '../cli/spawn.js';
import { startTiny } from './harness.js';
import { accepted, copyOf, damage, expectMessage, halfWritten, refused } from './refusals.js';

const base = mkdtempSync(join(tmpdir(), 'disco-damaged-'));
const whole = join(base, 'whole');
const FIRST = ['corpus', 'partition', 'init'];
const BOTH = [...FIRST, 'submodels/0', 'submodels/1'];
let copies = 0;
const copy = (stages: readonly string[], replaced: Readonly<Record<string, string>> = {}) =>
  copyOf(whole, join(base, `copy-${++copies}`), stages, replaced);
const weights = (run: string, stage: string) => readFileSync(join(run, stage, 'model.safetensors'));
const half = (bytes: Buffer) => bytes.subarray(0, bytes.length >> 1);

beforeAll(async () => {
  const { status, stderr } = await startTiny(whole).outcome;
  expect(status, stderr).toBe(0);
}, 300_000);
afterAll(() => rmSync(base, { recursive: true, force: true }));

describe('files that are read again', () => {
  it('a merged model that was cut off, or is gone, is not fine-tuned', async () => {
    const run = copy([...FIRST, 'merged']);
    const file = join(run, 'merged', 'model.safetensors');
    const size = readFileSync(file).length;
    const mend = damage(file, half);
    const says = ['stage merged', file, `expected: ${size} bytes`, `moe-disco merge ${run}`];
    await refused(['finetune', run], 2, [...says, `${size >> 1} bytes`]);
    rmSync(file);
    await refused(['finetune', run], 2, [...says, 'no file']);
    expect(halfWritten(join(run, 'finetuned'))).toEqual([]);
    mend();
    await accepted(['finetune', run]);
    expect(weights(run, 'finetuned').equals(weights(whole, 'finetuned'))).toBe(true);
  }, 120_000);

  it('a submodel that was cut off is not merged', async () => {
    const run = copy(BOTH);
    const file = join(run, 'submodels/1', 'model.safetensors');
    const mend = damage(file, half);
    await refused(['merge', run], 2, ['stage submodels/1', file, `moe-disco train ${run} --expert 1`]);
    expect(halfWritten(join(run, 'merged'))).toEqual([]);
    mend();
    await accepted(['merge', run]);
    expect(weights(run, 'merged').equals(weights(whole, 'merged'))).toBe(true);
  }, 120_000);

  it('a foreign embedding table that was cut off does not cluster, whatever its header says', async () => {
    const table = copyOf(whole, join(base, 'table'), ['merged']);
    const run = copy(['corpus'], {
      'source: corpus': 'source: folder',
      'folder: null': `folder: ${join(table, 'merged')}`,
    });
    const file = join(table, 'merged', 'model.safetensors');
    damage(file, half);
    await refused(['partition', run], 2, [file, 'truncated']);
    writeFileSync(file, Buffer.alloc(100, 0xff));
    await refused(['partition', run], 2, [file, 'safetensors']);
    expect(halfWritten(join(run, 'partition'))).toEqual([]);
  }, 120_000);

  it('a submodel of other initial weights is not merged', async () => {
    const other = copy(['corpus', 'partition'], { 'initializer_range: 0.02': 'initializer_range: 0.03' });
    await accepted(['init', other]);
    await accepted(['train', other, '--expert', '0']);
    const run = copyOf(whole, join(base, 'mixed'), [...FIRST, 'submodels/1']);
    copyOf(other, run, ['submodels/0']);
    writeFileSync(join(run, 'recipe.yaml'), readFileSync(join(whole, 'recipe.yaml')));
    await refused(['merge', run], 2, ['Submodel 0 was trained from other initial weights', 'inputs.shared']);
    expect(halfWritten(join(run, 'merged'))).toEqual([]);
  }, 120_000);

  it('a newer format, a broken DONE and damaged metrics are refused by name', async () => {
    const run = copy([
      ...FIRST,
      'submodels/0',
      'submodels/1',
      'merged',
      'finetuned',
      'baseline',
      'evaluation',
    ]);
    const files = {
      recipe: join(run, 'recipe.yaml'),
      done: join(run, 'merged', 'DONE'),
      metrics: join(run, 'baseline', 'metrics.jsonl'),
    };
    const newer = (bytes: Buffer) => bytes.toString().replace(/(format"?): 1/, '$1: 2');
    for (const [file, change, says] of [
      [files.recipe, newer, ['newer version of moe-disco', 'format', 'at most 1']],
      [files.done, newer, ['newer version of moe-disco', 'format', 'at most 1']],
      [files.done, half, ['Not a JSON file']],
      [files.done, () => '', ['Not a JSON file', 'an empty file']],
      [files.metrics, half, [/expected: \d+ bytes/, `moe-disco baseline ${run}`]],
      [
        files.metrics,
        (bytes: Buffer) => bytes.toString().replace('{"step":2,', '"{step":2,'),
        ['Line 3', 'line 3'],
      ],
    ] as const) {
      const mend = damage(file, change);
      await refused(['compare', run], 2, [file, ...says]);
      mend();
    }
    expect(halfWritten(join(run, 'comparison'))).toEqual([]);
    await accepted(['compare', run]);
  }, 120_000);
});

describe('runs', () => {
  it('of another recipe are left as they are', async () => {
    const run = copy(['corpus']);
    const recipe = readFileSync(join(run, 'recipe.yaml'), 'utf8');
    const args = ['run', 'tiny', 'seed=1', 'train.batchSize=8', '--into', run];
    await refused(args, 2, [
      'made by another recipe',
      'seed: 0 there, 1 now',
      'train.batchSize: 4 there, 8 now',
      `moe-disco fork ${run} NEW`,
    ]);
    expect(readFileSync(join(run, 'recipe.yaml'), 'utf8')).toBe(recipe);
    expect(readdirSync(run).sort()).toEqual(['corpus', 'recipe.yaml']);
  });

  it('in use say by whom, exit 75, and are free when that process has died', async () => {
    const run = copy([...FIRST, 'merged']);
    const mark = join(base, 'mark');
    const holder = start(['finetune', run], {
      env: { DISCO_TEST_PAUSE: 'before-done:finetuned', DISCO_TEST_PAUSE_MARK: mark },
    });
    await until(() => existsSync(mark), 'a fine-tuning before DONE');
    const says = ['finetuned is in use by', `process ${holder.pid} on `, 'attempt 1', 'hint:'];
    await refused(['finetune', run], 75, says);
    expect(existsSync(join(run, 'finetuned', 'DONE'))).toBe(false);
    process.kill(holder.pid, 'SIGKILL');
    await holder.outcome;
    await accepted(['finetune', run]);
    expect(weights(run, 'finetuned').equals(weights(whole, 'finetuned'))).toBe(true);
  }, 120_000);

  it('have no expert 7, no stage before its inputs, and no mistyped commands', async () => {
    const run = copy(['corpus']);
    await refused(['train', run, '--expert', '7'], 2, ['--expert', 'from 0 to 1', /found: +7/]);
    await refused(['train', run, '--expert', 'all'], 2, ['--expert', 'from 0 to 1', /found: +all/]);
    await refused(['merge', run], 2, ['Stage init of this run is not finished', `moe-disco init ${run}`]);
    expect(readdirSync(run).sort()).toEqual(['corpus', 'recipe.yaml']);
  }, 60_000);
});

describe('trainings', () => {
  it('that diverge end with 65, name step and batch and keep the last good checkpoint', async () => {
    const run = copy(FIRST, {
      'learningRate: 0.001': 'learningRate: 30',
      'checkpointSteps: 5': 'checkpointSteps: 1',
    });
    const folder = join(run, 'submodels/0');
    const says = [
      /submodels\/0: training diverged at step 3: .*The checkpoint of step 2 is kept/,
      'step 3, rows 8 to 11',
      'a lower learning rate than 30',
    ];
    const first = await refused(['train', run, '--devices', 'cpu'], 65, says);
    // Its sibling was not told, and diverges on its own.
    expect(first.stderr).toMatch(/submodels\/1: .*training diverged/);
    const again = await refused(['train', run, '--expert', '0'], 65, says);
    expect(again.stderr).toContain('continues after step 2 of 20');
    for (const name of ['step-00000001', 'step-00000002'])
      expect(existsSync(join(folder, 'checkpoints', `${name}.json`)), name).toBe(true);
    expect(halfWritten(folder).filter((name) => !name.startsWith('checkpoints/'))).toEqual([]);
    expect(halfWritten(folder).filter((name) => name.includes('.tmp'))).toEqual([]);
  }, 120_000);

  it('pass over a damaged checkpoint, refuse a newer one and broken metrics, and end in the same bits', async () => {
    const run = copy(FIRST);
    const folder = join(run, 'submodels/0');
    const mark = join(base, 'trained');
    const first = start(['train', run, '--expert', '0'], {
      env: { DISCO_TEST_PAUSE: 'after-training:submodels/0', DISCO_TEST_PAUSE_MARK: mark },
    });
    await until(() => existsSync(mark), 'the end of a training');
    process.kill(first.pid, 'SIGKILL');
    await first.outcome;
    const args = ['train', run, '--expert', '0'];
    const [json, bytes, metrics] = [
      join(folder, 'checkpoints', 'step-00000020.json'),
      join(folder, 'checkpoints', 'step-00000020.safetensors'),
      join(folder, 'metrics.jsonl'),
    ];
    const older = damage(json, (text) => text.toString().replace('"format": 1', '"format": 2'));
    await refused(args, 2, [json, 'newer version of moe-disco']);
    older();
    const unbroken = damage(metrics, (text) => text.toString().replace('{"step":2,', '{"stop":2,'));
    await refused(args, 2, [metrics, 'line 2', 'hint:']);
    unbroken();
    expect(existsSync(join(folder, 'config.json'))).toBe(false);
    damage(bytes, (content) => {
      content[content.length >> 1]! ^= 1;
      return content;
    });
    const { stderr } = await accepted(args);
    expect(stderr).toMatch(/Warning: checkpoint .*step-00000020\.json is damaged and passed over/);
    expect(stderr).toContain('continues after step 15 of 20');
    expectMessage({ status: 75, signal: null, stdout: '', stderr }, []);
    expect(weights(run, 'submodels/0').equals(weights(whole, 'submodels/0'))).toBe(true);
    const losses = (from: string) =>
      [
        ...readFileSync(join(from, 'submodels/0/metrics.jsonl'), 'utf8').matchAll(/"step":\d+,"loss":[^,]+/g),
      ].map(String);
    expect(losses(run)).toEqual(losses(whole));
  }, 120_000);
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeFileAtomic } from '../../src/formats/atomic.js';
import { hashOf } from '../../src/run/done.js';
import { RunFolder } from '../../src/run/folder.js';
import { requireDone, requireFiles } from '../../src/run/require.js';
import { runStage } from '../../src/run/stage.js';

let run: RunFolder;
beforeEach(() => {
  run = RunFolder.create(join(mkdtempSync(join(tmpdir(), 'require-')), 'run'), 'format: 1\n');
});
afterEach(() => rmSync(join(run.root, '..'), { recursive: true }));

const finish = (stage: string) =>
  runStage({ run, stage, reads: {}, inputs: {}, command: 'test' }, async ({ path }) => {
    writeFileAtomic(path('a.bin'), 'hello');
    return { outputs: ['a.bin'], hashes: { weights: 'f00' } };
  });

describe('a stage that must have been finished', () => {
  it.each([
    ['corpus', 'corpus RUN'],
    ['submodels/3', 'train RUN --expert 3'],
    ['merged', 'merge RUN'],
    ['finetuned', 'finetune RUN'],
    ['evaluation', 'evaluate RUN'],
    ['comparison', 'compare RUN'],
  ])('without %s the command that makes it is named', (stage, command) => {
    const hint = `moe-disco ${command.replace('RUN', run.root)}`;
    expect(() => requireDone(run, stage)).toThrow(
      expect.objectContaining({ exitStatus: 2, file: run.path(stage), hint }),
    );
  });

  it('gives its DONE and its hashes; one that it has not recorded is named', async () => {
    const done = await finish('merged');
    expect(requireDone(run, 'merged')).toEqual(done);
    expect(hashOf(done, 'weights')).toBe('f00');
    expect(() => hashOf(done, 'shared')).toThrow(
      expect.objectContaining({ exitStatus: 2, key: 'hashes.shared' }),
    );
  });

  it('has its files in their sizes, where they are about to be read', async () => {
    const done = await finish('merged');
    const file = run.path('merged', 'a.bin');
    expect(requireFiles(run, 'merged')).toEqual(done);
    writeFileSync(file, 'hell');
    expect(() => requireFiles(run, 'merged')).toThrow(
      expect.objectContaining({ exitStatus: 2, file, expected: '5 bytes', found: '4 bytes' }),
    );
    rmSync(file);
    expect(() => requireFiles(run, 'merged')).toThrow(expect.objectContaining({ file, found: 'no file' }));
    expect(requireDone(run, 'merged')).toEqual(done);
  });
});

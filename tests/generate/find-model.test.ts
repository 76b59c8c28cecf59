import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DataError, RequestError } from '../../src/errors.js';
import { findModel } from '../../src/generate/find-model.js';
import { writeDone } from '../../src/run/done.js';
import { writeReference } from '../../src/run/refers.js';
import { temporaryFolder } from '../corpus/stores.js';

const done = {
  format: 1 as const,
  stage: 'finetuned',
  key: 'k',
  reads: null,
  inputs: {},
  outputs: [],
  hashes: {},
  summary: null,
  finished: '2026-01-01T00:00:00Z',
};

test("a model's folder, a stage's, and that of a forked run's stage which lies in another run", () => {
  const root = temporaryFolder();
  const stage = join(root, 'first', 'finetuned');
  const forked = join(root, 'second', 'finetuned');
  for (const folder of [stage, forked]) mkdirSync(folder, { recursive: true });
  writeFileSync(join(stage, 'config.json'), '{}');
  writeDone(stage, done, () => {});
  writeReference(forked, 'finetuned', stage, 'k');
  expect(findModel(stage)).toBe(stage);
  expect(findModel(forked)).toBe(stage);
  expect(() => findModel(join(root, 'second'))).toThrow(
    expect.objectContaining({ exitStatus: 2, hint: `choose one: ${forked}` }),
  );
  rmSync(join(stage, 'DONE'));
  expect(() => findModel(forked)).toThrow(DataError);
});

test('nothing, a file, a folder with no model below', () => {
  const root = temporaryFolder();
  writeFileSync(join(root, 'file'), '');
  expect(() => findModel(join(root, 'none'))).toThrow(RequestError);
  expect(() => findModel(join(root, 'file'))).toThrow(expect.objectContaining({ found: 'a file' }));
  expect(() => findModel(root)).toThrow(expect.objectContaining({ hint: undefined }));
});

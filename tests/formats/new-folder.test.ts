import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { temporaryPath } from '../../src/formats/atomic.js';
import { freeBytes, makeFolder, refuseOccupied } from '../../src/formats/new-folder.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'new-folder-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const write = async (making: string) => {
  writeFileSync(join(making, 'a'), 'x');
  return 7;
};

it('appears whole, in folders that are made for it, or in place of an empty one', async () => {
  expect(await makeFolder(join(root, 'deep', 'new'), 1, write)).toBe(7);
  expect(readdirSync(join(root, 'deep'))).toEqual(['new']);
  mkdirSync(join(root, 'empty'));
  await makeFolder(join(root, 'empty'), 1, write);
  expect(readdirSync(join(root, 'empty'))).toEqual(['a']);
});

it('is not seen while it is made, and leaves nothing when making fails', async () => {
  const folder = join(root, 'new');
  const failing = makeFolder(folder, 1, async (making) => {
    await write(making);
    expect(existsSync(folder)).toBe(false);
    throw new Error('no more');
  });
  await expect(failing).rejects.toThrow('no more');
  expect(readdirSync(root)).toEqual([]);
});

it('refuses a folder that has something, a file, and one that was filled meanwhile', async () => {
  const folder = join(root, 'full');
  mkdirSync(folder);
  writeFileSync(join(folder, 'config.json'), '{}');
  const refusal = {
    exitStatus: 2,
    file: folder,
    found: 'config.json',
    hint: expect.stringContaining('--into'),
  };
  expect(() => refuseOccupied(folder)).toThrow(expect.objectContaining(refusal));
  await expect(makeFolder(folder, 1, write)).rejects.toMatchObject(refusal);
  await expect(makeFolder(join(folder, 'config.json'), 1, write)).rejects.toMatchObject({ exitStatus: 2 });
  symlinkSync(join(root, 'nowhere'), join(root, 'link'));
  await expect(makeFolder(join(root, 'link'), 1, write)).rejects.toMatchObject({ exitStatus: 2 });
  const raced = join(root, 'raced');
  const racing = makeFolder(raced, 1, async (making) => {
    await write(making);
    mkdirSync(raced);
    writeFileSync(join(raced, 'mine'), '');
  });
  await expect(racing).rejects.toMatchObject({ exitStatus: 2, hint: expect.stringContaining('--into') });
  expect(readdirSync(raced)).toEqual(['mine']);
  expect(readdirSync(root).sort()).toEqual(['full', 'link', 'raced']);
});

it('refuses what the disk has no room for, before anything is written', async () => {
  const folder = join(root, 'new');
  await expect(makeFolder(folder, freeBytes(folder) + 1e12, write)).rejects.toMatchObject({
    exitStatus: 74,
    file: folder,
    expected: expect.stringMatching(/GB$/),
  });
  expect(readdirSync(root)).toEqual([]);
});

it('tells of what killed attempts have left, and of nothing else', async () => {
  const folder = join(root, 'new');
  const left = temporaryPath(folder);
  for (const path of [left, temporaryPath(join(root, 'newer')), join(root, '.new.txt')]) mkdirSync(path);
  const said: string[] = [];
  await makeFolder(folder, 1, write, (text) => said.push(text));
  expect(said).toEqual([expect.stringContaining(`${left} was left`)]);
  expect(existsSync(left)).toBe(true);
});

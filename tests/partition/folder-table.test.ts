import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type SafetensorsDtype, writeSafetensors } from '../../src/formats/safetensors.js';
import { FolderTable } from '../../src/partition/folder-table.js';
import { expectNoLeaks, noPause, root, temporaryFolder } from './support.js';

const folder = temporaryFolder();
expectNoLeaks();

interface Contents {
  name?: string;
  dtype?: SafetensorsDtype;
  shape?: number[];
  bytes: Uint8Array;
  tokenizer?: boolean;
}

/** A Hugging Face folder with one tensor beside others. */
async function makeFolder(name: string, contents: Contents): Promise<string> {
  const path = join(folder(), name);
  mkdirSync(path);
  writeFileSync(join(path, 'config.json'), '{}');
  if (contents.tokenizer !== false)
    copyFileSync(`${root}data/tokenizer/bpe-4096.json`, join(path, 'tokenizer.json'));
  const { name: tensor = 'model.embed_tokens.weight', dtype = 'F32', shape = [4100, 2] } = contents;
  await writeSafetensors(join(path, 'model.safetensors'), [
    { name: 'model.norm.weight', dtype: 'F32', shape: [1], write: (sink) => sink(new Uint8Array(4)) },
    { name: tensor, dtype, shape, write: (sink) => sink(contents.bytes) },
  ]);
  return path;
}

const floats = (n: number) => Float32Array.from({ length: n }, (_, i) => (i % 64) / 8);
const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer);

test('float32 and bfloat16 tables under several names', async () => {
  const values = floats(8200);
  const plain = await FolderTable.open(await makeFolder('plain', { bytes: bytesOf(values) }));
  const read = await plain.read('cpu', noPause);
  expect([plain.rows, plain.dimension, read.shape]).toEqual([4100, 2, [4100, 2]]);
  expect(read.toArray()).toEqual(values);
  read.dispose();

  const half = new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16).buffer);
  const brain = await FolderTable.open(
    await makeFolder('brain', { bytes: half, dtype: 'BF16', name: 'transformer.wte.weight' }),
  );
  const table = await brain.read('cpu', noPause);
  expect(table.dtype).toBe('float32');
  expect(table.toArray()).toEqual(values);
  table.dispose();
  expect(await brain.hash(noPause)).not.toBe(await plain.hash(noPause));
  plain.close();
  brain.close();
});

test('the hash is that of the content', async () => {
  const values = floats(8200);
  const hashes = [];
  for (const name of ['first', 'second', 'third']) {
    if (name === 'third') values[77] = 5.5;
    const table = await FolderTable.open(await makeFolder(name, { bytes: bytesOf(values) }));
    hashes.push(await table.hash(noPause));
    table.close();
  }
  expect(hashes[0]).toBe(hashes[1]);
  expect(hashes[2]).not.toBe(hashes[0]);
});

test.each<[string, Contents, object]>([
  [
    'no tokenizer.json',
    { bytes: bytesOf(floats(8200)), tokenizer: false },
    { key: 'partition.embedding.folder' },
  ],
  ['fewer rows than ids', { bytes: bytesOf(floats(8190)), shape: [4095, 2] }, { found: '4095' }],
  [
    'another name',
    { bytes: bytesOf(floats(8200)), name: 'decoder.magic' },
    { found: expect.stringContaining('decoder.magic') },
  ],
  ['three dimensions', { bytes: bytesOf(floats(8200)), shape: [4100, 2, 1] }, { found: 'F32 [4100, 2, 1]' }],
  ['whole numbers', { bytes: bytesOf(floats(8200)), dtype: 'I32' }, { found: 'I32 [4100, 2]' }],
])('%s is refused', async (name, contents, details) => {
  const path = await makeFolder(name.replaceAll(' ', '-'), contents);
  await expect(FolderTable.open(path)).rejects.toMatchObject({ exitStatus: 2, ...details });
});

test('values that are not finite are refused', async () => {
  const values = floats(8200);
  values[8000] = Number.NaN;
  const table = await FolderTable.open(await makeFolder('nan', { bytes: bytesOf(values) }));
  await expect(table.read('cpu', noPause)).rejects.toMatchObject({
    exitStatus: 2,
    key: 'model.embed_tokens.weight',
  });
  table.close();
});

import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DataError } from '../../src/errors.js';
import { sha256 } from '../../src/formats/hash.js';
import { SafetensorsReader } from '../../src/formats/safetensors.js';
import { type Kind, ParameterStore } from '../../src/model/store.js';
import * as torch from '../../src/torch/index.js';
import { loadCheckpoint, removeCheckpoints, saveCheckpoint } from '../../src/train/checkpoint.js';
import { random, tinyConfig } from '../model/fixtures.js';
import { changeJson } from '../runs.js';
import { expectNoLeaks } from '../torch/leaks.js';

expectNoLeaks();

const KINDS: readonly Kind[] = ['weights', 'firstMoments', 'secondMoments'];
const warnings: string[] = [];
const warn = (text: string) => warnings.push(text);
let folder: string;
let stores: ParameterStore[];
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'checkpoint-')), 'checkpoints');
  stores = [];
  warnings.length = 0;
});
afterEach(() => {
  rmSync(join(folder, '..'), { recursive: true });
  for (const store of stores) store.dispose();
});

/** The weights and moments of a store, block by block. */
const flatOf = (store: ParameterStore) =>
  store.blocks.flatMap(({ weights, training }) => [weights, training!.firstMoments, training!.secondMoments]);

/** A store whose weights and moments follow from `seed`. */
function storeOf(seed: number, changes: Record<string, unknown> = {}): ParameterStore {
  const store = new ParameterStore(tinyConfig(changes), { training: true });
  stores.push(store);
  const next = random(seed);
  torch.scope(() => {
    for (const flat of flatOf(store))
      flat.copy_(torch.tensor(Float32Array.from({ length: flat.numel }, next)));
  });
  return store;
}

/** Hashes of all bytes of a store. */
const bytesOf = (store: ParameterStore) => flatOf(store).map((flat) => sha256(flat.bytes()));

const counters = (step: number) => ({ step, tokens: step * 100, seconds: step / 8 });
/** Saves the checkpoint of a store that follows from `step`. */
async function save(step: number, previous: number, check = () => {}): Promise<ParameterStore> {
  const store = storeOf(step);
  await saveCheckpoint(folder, store, counters(step), { previous, check });
  return store;
}
/** Loads into a fresh store; its step and bytes are those of the store that was saved. */
async function expectLoaded(step: number): Promise<void> {
  const store = storeOf(1000);
  expect(await loadCheckpoint(folder, store, warn)).toEqual(counters(step));
  expect(store.step).toBe(step);
  expect(bytesOf(store)).toEqual(bytesOf(storeOf(step)));
}
const base = (step: number) => join(folder, `step-0000000${step}`);

describe('a checkpoint', () => {
  it('restores weights, both moments and the step, bit for bit', async () => {
    await save(5, 0);
    await expectLoaded(5);
    expect(warnings).toEqual([]);
  });

  it('keeps no moments of what is not trained', async () => {
    const store = storeOf(3, { num_experts: 1, num_experts_per_tok: 1 });
    await saveCheckpoint(folder, store, counters(3), { previous: 0, check: () => {} });
    const file = SafetensorsReader.open(`${base(3)}.safetensors`);
    const of = (name: string) => KINDS.map((kind) => file.has(`${kind}/${name}`));
    expect(of('model.layers.0.mlp.gate.weight')).toEqual([true, false, false]);
    expect(of('model.norm.weight')).toEqual([true, true, true]);
    file.close();
  });

  it('is there only when its JSON file is, and not when the folder is no longer ours', async () => {
    await save(5, 0);
    const lost = () => {
      throw new Error('not ours');
    };
    await expect(save(6, 5, lost)).rejects.toThrow('not ours');
    expect(readdirSync(folder).sort()).toEqual(['step-00000005.json', 'step-00000005.safetensors']);
    let checks = 0;
    const lostLater = () => {
      if (++checks === 2) throw new Error('not ours');
    };
    await expect(save(6, 5, lostLater)).rejects.toThrow('not ours');
    expect(existsSync(`${base(6)}.safetensors`)).toBe(true);
    await expectLoaded(5);
    // Nobody else would ever remove it.
    expect(existsSync(`${base(6)}.safetensors`)).toBe(false);
  });

  it('without any, nothing is loaded and the store is as it was', async () => {
    const store = storeOf(1);
    expect(await loadCheckpoint(folder, store, warn)).toBeNull();
    expect(bytesOf(store)).toEqual(bytesOf(storeOf(1)));
    expect([store.step, warnings]).toEqual([0, []]);
  });
});

describe('of several', () => {
  it('the two newest are kept, and the newest is loaded', async () => {
    for (const [step, previous] of [
      [3, 0],
      [5, 3],
      [8, 5],
      [9, 8],
    ] as const)
      await save(step, previous);
    expect(readdirSync(folder).sort()).toEqual(
      [8, 9].flatMap((step) => [`step-0000000${step}.json`, `step-0000000${step}.safetensors`]),
    );
    await expectLoaded(9);
    removeCheckpoints(folder);
    removeCheckpoints(folder);
    expect(existsSync(folder)).toBe(false);
  });

  it.each([
    [
      'a flipped bit',
      () => {
        const bytes = readFileSync(`${base(8)}.safetensors`);
        bytes[bytes.length - 3]! ^= 4;
        writeFileSync(`${base(8)}.safetensors`, bytes);
      },
      'not as it was written',
    ],
    ['a torn file', () => truncateSync(`${base(8)}.safetensors`, 5000), 'not as it was written'],
    ['a missing file', () => rmSync(`${base(8)}.safetensors`), 'not found'],
    ['a torn JSON file', () => truncateSync(`${base(8)}.json`, 20), 'Not a JSON file'],
    ['an empty JSON file', () => truncateSync(`${base(8)}.json`), 'Not a JSON file'],
    [
      'the JSON file of another',
      () => writeFileSync(`${base(8)}.json`, readFileSync(`${base(5)}.json`)),
      'another checkpoint',
    ],
    [
      'a JSON file without a checksum',
      () => changeJson(`${base(8)}.json`, (json) => delete json.sha256),
      'Unexpected content',
    ],
  ] as const)('one with %s is passed over with a warning', async (_, damage, why) => {
    await save(5, 0);
    await save(8, 5);
    damage();
    await expectLoaded(5);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(`${base(8)}.json is damaged and passed over`);
    expect(warnings[0]).toContain(why);
  });

  it('where all are damaged the store stays as it was', async () => {
    await save(5, 0);
    await save(8, 5);
    for (const step of [5, 8]) truncateSync(`${base(step)}.safetensors`, 100);
    const store = storeOf(1);
    expect(await loadCheckpoint(folder, store, warn)).toBeNull();
    expect(bytesOf(store)).toEqual(bytesOf(storeOf(1)));
    expect(warnings).toHaveLength(2);
  });

  it('those that were passed over make room for the first good one, however far it is', async () => {
    await save(5, 0);
    await save(8, 5);
    for (const step of [5, 8]) truncateSync(`${base(step)}.safetensors`, 100);
    await save(2, 0);
    expect(readdirSync(folder)).toEqual(['step-00000002.json', 'step-00000002.safetensors']);
    await save(5, 2);
    await expectLoaded(5);
    truncateSync(`${base(5)}.safetensors`, 100);
    await save(6, 2);
    await expectLoaded(6);
    truncateSync(`${base(6)}.safetensors`, 100);
    await expectLoaded(2);
  });
});

describe('refuses', () => {
  it('a newer format, from which a newer version can go on', async () => {
    await save(5, 0);
    await save(8, 5);
    changeJson(`${base(8)}.json`, (json) => {
      json.format = 2;
    });
    const store = storeOf(1);
    await expect(loadCheckpoint(folder, store, warn)).rejects.toMatchObject({
      exitStatus: 2,
      key: 'format',
      found: '2',
    });
    expect(warnings).toEqual([]);
  });

  it('a whole checkpoint of another model', async () => {
    await save(5, 0);
    const other = storeOf(1, { vocab_size: 61 });
    await expect(loadCheckpoint(folder, other, warn)).rejects.toThrow(DataError);
    expect(warnings).toEqual([]);
  });
});

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DataError } from '../../src/errors.js';
import { readJson, writeJson } from '../../src/formats/atomic.js';
import { hashFile } from '../../src/formats/hash.js';
import {
  openWeights,
  readConfig,
  tokenizerPath,
  writeHuggingFaceFolder,
} from '../../src/formats/hf-folder.js';
import { type TensorSource, writeSafetensors } from '../../src/formats/safetensors.js';

let root: string;
let folder: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'hf-folder-'));
  folder = join(root, 'model');
});
afterEach(() => rmSync(root, { recursive: true }));

function tensor(name: string, elements: number, fill: number): TensorSource {
  return {
    name,
    dtype: 'F32',
    shape: [elements],
    write: (sink) => sink(new Uint8Array(4 * elements).fill(fill)),
  };
}
const tensors = [tensor('a', 4, 1), tensor('b', 4, 2), tensor('c', 40, 3), tensor('d', 1, 4)];
const index = () => join(folder, 'model.safetensors.index.json');

function refusal(): DataError {
  try {
    openWeights(folder).close();
  } catch (error) {
    if (error instanceof DataError) return error;
    throw error;
  }
  throw new Error('the folder was accepted');
}

describe('writing and reading', () => {
  it('writes floats so that Python reads floats, and leaves whole numbers whole', async () => {
    const config = { clip_qkv: 8, rms_norm_eps: 1e-6, router_aux_loss_coef: 0, hidden_size: 8 };
    await writeHuggingFaceFolder(folder, { config, tensors });
    const text = readFileSync(join(folder, 'config.json'), 'utf8');
    for (const line of ['"clip_qkv": 8.0,', '"rms_norm_eps": 0.000001,', '"router_aux_loss_coef": 0.0,'])
      expect(text).toContain(line);
    expect(text).toContain('"hidden_size": 8\n');
    expect(readConfig(folder)).toEqual(config);
  });

  it('one file', async () => {
    writeFileSync(join(root, 'tokenizer.json'), '{"version":"1.0"}');
    const records = await writeHuggingFaceFolder(folder, {
      config: { model_type: 'qwen2_moe' },
      generationConfig: { eos_token_id: 0 },
      tensors,
      extraFiles: { 'tokenizer.json': join(root, 'tokenizer.json'), 'note.txt': Buffer.from('hello') },
    });
    expect(records.map(({ name }) => name)).toEqual([
      'model.safetensors',
      'tokenizer.json',
      'note.txt',
      'generation_config.json',
      'config.json',
    ]);
    expect(readdirSync(folder).sort()).toEqual(records.map(({ name }) => name).sort());
    for (const { name, size, sha256 } of records)
      expect(await hashFile(join(folder, name))).toEqual({ size, sha256 });
    expect(readConfig(folder)).toEqual({ model_type: 'qwen2_moe' });
    expect(tokenizerPath(folder)).toBe(join(folder, 'tokenizer.json'));
    expect(tokenizerPath(join(root, 'none'))).toBeNull();
    const weights = openWeights(folder);
    expect(weights.names).toEqual(['a', 'b', 'c', 'd']);
    expect([...weights.read('b')]).toEqual(Array(16).fill(2));
    expect(weights.file('b')).toBe(join(folder, 'model.safetensors'));
    expect(() => weights.info('none')).toThrow('has no tensor none');
    weights.close();
  });

  it('shards with an index, cut where Hugging Face cuts', async () => {
    await writeHuggingFaceFolder(folder, { config: {}, tensors, maxShardBytes: 32 });
    expect(readJson(index())).toEqual({
      metadata: { total_size: 196 },
      weight_map: {
        a: 'model-00001-of-00003.safetensors',
        b: 'model-00001-of-00003.safetensors',
        c: 'model-00002-of-00003.safetensors',
        d: 'model-00003-of-00003.safetensors',
      },
    });
    const weights = openWeights(folder);
    expect(weights.names).toEqual(['a', 'b', 'c', 'd']);
    expect([...weights.read('c', undefined, 156)]).toEqual([3, 3, 3, 3]);
    expect(weights.has('c')).toBe(true);
    expect(weights.info('d').shape).toEqual([1]);
    weights.close();
  });

  it('replaces an older model of other shards and keeps other files', async () => {
    await writeHuggingFaceFolder(folder, { config: { old: true }, tensors, maxShardBytes: 32 });
    writeFileSync(join(folder, 'metrics.jsonl'), '');
    await writeHuggingFaceFolder(folder, { config: {}, tensors: [tensor('x', 1, 9)] });
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'metrics.jsonl', 'model.safetensors']);
    const weights = openWeights(folder);
    expect(weights.names).toEqual(['x']);
    weights.close();
  });

  it('leaves the older model when a tensor or the check fails', async () => {
    await writeHuggingFaceFolder(folder, { config: { old: true }, tensors: [tensor('x', 1, 9)] });
    const before = readFileSync(join(folder, 'model.safetensors'));
    const broken: TensorSource = {
      ...tensor('y', 1, 1),
      write: () => {
        throw new Error('not finite');
      },
    };
    await expect(
      writeHuggingFaceFolder(folder, { config: {}, tensors: [tensors[0]!, broken] }),
    ).rejects.toThrow('finite');
    const check = () => {
      throw new Error('not ours');
    };
    await expect(writeHuggingFaceFolder(folder, { config: {}, tensors, check })).rejects.toThrow('not ours');
    const missing = { 'tokenizer.json': join(root, 'none') };
    await expect(
      writeHuggingFaceFolder(folder, { config: {}, tensors, extraFiles: missing }),
    ).rejects.toThrow(DataError);
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors']);
    expect(readFileSync(join(folder, 'model.safetensors')).equals(before)).toBe(true);
    expect(readConfig(folder)).toEqual({ old: true });
  });
});

describe('folders of strangers', () => {
  beforeEach(() => writeHuggingFaceFolder(folder, { config: {}, tensors, maxShardBytes: 32 }));
  const shard = (number: number) => join(folder, `model-0000${number}-of-00003.safetensors`);
  function editIndex(edit: (map: Record<string, string>) => void): void {
    const content = readJson(index()) as { weight_map: Record<string, string> };
    edit(content.weight_map);
    writeJson(index(), content);
  }

  it('a tensor that the index promises is missing', async () => {
    editIndex((map) => {
      map.ghost = 'model-00001-of-00003.safetensors';
    });
    expect(refusal()).toMatchObject({ key: 'ghost', file: index(), found: 'in no shard' });
  });

  it('a tensor is in another shard than the index says', () => {
    editIndex((map) => {
      map.a = 'model-00002-of-00003.safetensors';
    });
    expect(refusal()).toMatchObject({ key: 'a', found: 'model-00001-of-00003.safetensors' });
  });

  it('a shard has a tensor that the index does not know', () => {
    editIndex((map) => {
      delete map.b;
    });
    expect(refusal()).toMatchObject({ key: 'b' });
  });

  it('two shards have the same tensor', async () => {
    await writeSafetensors(shard(3), [tensor('d', 1, 4), tensor('a', 4, 1)]);
    expect(refusal()).toMatchObject({ key: 'a', message: expect.stringContaining('two shards') });
  });

  it('a shard is missing or truncated', () => {
    const bytes = readFileSync(shard(2));
    writeFileSync(shard(2), bytes.subarray(0, -1));
    expect(refusal()).toMatchObject({ file: shard(2), key: 'c' });
    rmSync(shard(2));
    expect(refusal()).toMatchObject({ file: shard(2) });
  });

  it('an index that leads out of the folder', () => {
    renameSync(shard(3), join(root, 'x.safetensors'));
    for (const path of ['../x.safetensors', join(root, 'x.safetensors'), 'model.bin', '']) {
      editIndex((map) => {
        map.d = path;
      });
      expect(refusal().message).toContain('outside its folder');
    }
  });

  it('an index of another shape', () => {
    for (const content of [[], { weight_map: { a: 7 } }, {}]) {
      writeJson(index(), content);
      expect(refusal().file).toBe(index());
    }
  });

  it('an index that names a tensor twice, is too deep, or is no UTF-8', () => {
    const text = readFileSync(index(), 'utf8');
    writeFileSync(index(), text.replace('"b"', '"\\u0061"'));
    expect(refusal()).toMatchObject({ file: index(), key: 'a', message: expect.stringContaining('twice') });
    writeFileSync(index(), `{"weight_map":${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}}`);
    expect(refusal()).toMatchObject({ file: index(), message: expect.stringContaining('levels deep') });
    writeFileSync(index(), Buffer.concat([Buffer.from('{"'), Buffer.of(0xff), Buffer.from('":1}')]));
    expect(refusal()).toMatchObject({ file: index() });
  });

  it('a config.json of the same kinds', () => {
    const config = join(folder, 'config.json');
    const refused = (text: string) => {
      writeFileSync(config, text);
      expect(() => readConfig(folder), text.slice(0, 40)).toThrow(
        expect.objectContaining({ exitStatus: 2, file: config }),
      );
    };
    for (const text of ['', '[]', 'null', '{"a":1,"a":2}', `{"a":${'['.repeat(1e5)}${']'.repeat(1e5)}}`])
      refused(text);
    truncateSync(config, 0);
    truncateSync(config, 200_000_000); // a hole, which takes no disk
    expect(() => readConfig(folder)).toThrow(
      expect.objectContaining({ exitStatus: 2, file: config, found: '200000000 bytes' }),
    );
  });

  it('any damage to the index is refused, or leaves every tensor in its shard', () => {
    const whole = readFileSync(index());
    fc.assert(
      fc.property(fc.nat({ max: whole.length - 1 }), fc.integer({ min: 32, max: 126 }), (at, byte) => {
        const damaged = Buffer.from(whole);
        damaged[at] = byte;
        writeFileSync(index(), damaged);
        try {
          const weights = openWeights(folder);
          expect(weights.names).toEqual(['a', 'b', 'c', 'd']);
          weights.close();
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('no weights at all, or pickled ones only', () => {
    rmSync(folder, { recursive: true });
    expect(refusal().message).toContain('no weights');
    mkdirSync(folder);
    writeFileSync(join(folder, 'pytorch_model.bin'), '');
    expect(refusal()).toMatchObject({
      found: 'pytorch_model.bin',
      hint: expect.stringContaining('never read'),
    });
    expect(() => readConfig(folder)).toThrow(DataError);
    expect(existsSync(join(folder, 'config.json'))).toBe(false);
  });
});

describe('fused tensors', () => {
  const fused = {
    name: 'both',
    shape: [2, 3],
    parts: [
      { name: 'first', shape: [3], offset: 0 },
      { name: 'second', shape: [1, 3], offset: 3 },
    ],
  };
  const both: TensorSource = {
    name: 'both',
    dtype: 'F16',
    shape: [2, 3],
    write: (sink) => sink(Uint8Array.from({ length: 12 }, (_, i) => i)),
  };

  it('are seen as their parts, read and streamed by their own ranges', async () => {
    await writeHuggingFaceFolder(folder, { config: {}, tensors: [tensor('a', 4, 1), both] });
    const weights = openWeights(folder, [fused, { ...fused, name: 'absent' }]);
    expect(weights.names).toEqual(['a', 'first', 'second']);
    expect(weights.fused).toEqual(['both']);
    expect(weights.has('both')).toBe(false);
    expect(weights.info('second')).toMatchObject({ dtype: 'F16', shape: [1, 3], bytes: 6 });
    expect(weights.info('second').offset).toBe(weights.info('first').offset + 6);
    expect([...weights.read('second')]).toEqual([6, 7, 8, 9, 10, 11]);
    expect([...weights.read('second', undefined, 2, 2)]).toEqual([8, 9]);
    expect(() => weights.read('first', undefined, 4, 4)).toThrow(RangeError);
    const pieces: number[] = [];
    await weights.stream('first', (piece) => pieces.push(...piece));
    expect(pieces).toEqual([0, 1, 2, 3, 4, 5]);
    weights.close();
  });

  it('of another shape, or beside one of their parts, are refused', async () => {
    await writeHuggingFaceFolder(folder, { config: {}, tensors: [both] });
    expect(() => openWeights(folder, [{ ...fused, shape: [3, 2] }])).toThrow(
      expect.objectContaining({ exitStatus: 2, key: 'both', expected: '[3,2]', found: '[2,3]' }),
    );
    await writeHuggingFaceFolder(folder, { config: {}, tensors: [both, tensor('first', 1, 1)] });
    expect(() => openWeights(folder, [fused])).toThrow(
      expect.objectContaining({ exitStatus: 2, key: 'both' }),
    );
  });
});

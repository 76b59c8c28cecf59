import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { DataError, EnvironmentError, RequestError } from '../../src/errors.js';
import {
  AtomicFile,
  isTemporary,
  readJson,
  removeLeftovers,
  streamFileAtomic,
  temporaryPath,
  writeFileAtomic,
  writeJson,
} from '../../src/formats/atomic.js';
import { canonicalJson, hashFile, hashJson, sha256 } from '../../src/formats/hash.js';
import { JsonlWriter, readJsonl } from '../../src/formats/jsonl.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'atomic-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('atomic files', () => {
  it('appear at commit, with size and hash', async () => {
    const path = join(folder, 'deep', 'x.bin');
    const file = new AtomicFile(path);
    const buffer = new Uint8Array([1, 2, 3]);
    file.write(buffer);
    buffer.fill(9); // the caller reuses its buffer
    file.write('é');
    expect(existsSync(path)).toBe(false);
    expect(readdirSync(join(folder, 'deep')).every(isTemporary)).toBe(true);
    const record = await file.commit();
    const bytes = readFileSync(path);
    expect([...bytes]).toEqual([1, 2, 3, 0xc3, 0xa9]);
    expect(record).toEqual({
      name: 'x.bin',
      size: 5,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    });
    expect(await hashFile(path)).toEqual({ size: 5, sha256: record.sha256 });
    expect(readdirSync(join(folder, 'deep'))).toEqual(['x.bin']);
    expect(() => file.write('more')).toThrow('already committed');
  });

  it('leave the old content when writing or the check fails', async () => {
    const path = join(folder, 'x');
    writeFileAtomic(path, 'old');
    const failing = streamFileAtomic(path, (file) => {
      file.write('new');
      throw new Error('half-way');
    });
    await expect(failing).rejects.toThrow('half-way');
    const refuse = () => {
      throw new Error('not ours');
    };
    expect(() => writeFileAtomic(path, 'new', refuse)).toThrow('not ours');
    await expect(streamFileAtomic(path, (file) => file.write('new'), refuse)).rejects.toThrow('not ours');
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(folder)).toEqual(['x']);
  });

  it('a full disk ends in an EnvironmentError that names the file, with nothing half-written', async (context) => {
    const disk = join(folder, 'disk');
    mkdirSync(disk);
    const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk], { encoding: 'utf8' });
    if (mount.status !== 0) {
      if (process.env.CI) throw new Error(`this test needs the right to mount a tmpfs: ${mount.stderr}`);
      context.skip('mounting a tmpfs is refused here');
    }
    try {
      const path = join(disk, 'tokens.bin');
      writeFileAtomic(path, 'old');
      const error = await streamFileAtomic(path, (file) => file.write(new Uint8Array(1 << 20))).catch(
        (e) => e,
      );
      expect(error).toBeInstanceOf(EnvironmentError);
      expect(error).toMatchObject({ exitStatus: 74, file: path, found: 'ENOSPC' });
      const lines = new JsonlWriter(join(disk, 'metrics.jsonl'));
      expect(() => lines.append('x'.repeat(1 << 20))).toThrow(EnvironmentError);
      lines.close();
      expect(readJsonl(join(disk, 'metrics.jsonl'))).toEqual([]);
      expect(readdirSync(disk).sort()).toEqual(['metrics.jsonl', 'tokens.bin']);
      expect(readFileSync(path, 'utf8')).toBe('old');
    } finally {
      spawnSync('umount', [disk]);
    }
  });

  it('a folder that is a file is a RequestError', () => {
    writeFileSync(join(folder, 'file'), '');
    expect(() => writeFileAtomic(join(folder, 'file', 'x'), '')).toThrow(RequestError);
  });

  it('left-overs of dead attempts are removed, also folders, and nothing else', () => {
    mkdirSync(join(folder, 'checkpoints'));
    const dead = [temporaryPath(join(folder, 'a.bin')), temporaryPath(join(folder, 'checkpoints', 'step-5'))];
    writeFileSync(dead[0]!, 'half');
    mkdirSync(dead[1]!);
    writeFileSync(join(dead[1]!, 'model.safetensors'), 'half');
    for (const name of ['.hidden', 'x.tmp-1', 'checkpoints/step-4']) writeFileSync(join(folder, name), '');
    expect(removeLeftovers(folder).sort()).toEqual([...dead].sort());
    expect(readdirSync(folder).sort()).toEqual(['.hidden', 'checkpoints', 'x.tmp-1']);
    expect(readdirSync(join(folder, 'checkpoints'))).toEqual(['step-4']);
  });

  it('are readable by others, as the umask allows', () => {
    writeFileAtomic(join(folder, 'x'), '');
    expect(statSync(join(folder, 'x')).mode & 0o777).toBe(0o644 & ~process.umask());
  });
});

describe('JSON files', () => {
  it('come back as they were written', () => {
    const value = { a: [1, null, 'é'], b: { c: true } };
    writeJson(join(folder, 'x.json'), value);
    expect(readJson(join(folder, 'x.json'))).toEqual(value);
  });

  it.each([
    ['', 'an empty file'],
    ['{"a": 1', 'JSON'],
    [Uint8Array.from([0x22, 0xff, 0x22]), 'utf-8'],
  ])('%j is refused with file and reason', (content, found) => {
    const path = join(folder, 'x.json');
    writeFileSync(path, content);
    try {
      readJson(path);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(DataError);
      expect(error).toMatchObject({ file: path, expected: 'JSON in UTF-8' });
      expect((error as DataError).found).toContain(found);
    }
  });

  it('a missing file and a wrong shape name the file and key', () => {
    const path = join(folder, 'x.json');
    expect(() => readJson(path)).toThrow(DataError);
    writeJson(path, { train: { steps: 'many' } });
    const schema = z.object({ train: z.object({ steps: z.number() }) });
    try {
      readJson(path, schema);
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ file: path, key: 'train.steps', expected: 'number' });
    }
  });
});

describe('canonical JSON', () => {
  it('does not depend on the order of keys, and drops undefined', () => {
    expect(canonicalJson({ b: 1, a: { d: [1, 'x'], c: null }, e: undefined })).toBe(
      '{"a":{"c":null,"d":[1,"x"]},"b":1}',
    );
    expect(hashJson({ a: 1, b: 2 })).toBe(hashJson({ b: 2, a: 1 }));
    expect(hashJson({ a: 1 })).not.toBe(hashJson({ a: '1' }));
    expect(hashJson([1, 2])).not.toBe(hashJson([2, 1]));
  });

  it('refuses what JSON would silently change', () => {
    for (const value of [Number.NaN, { a: Number.POSITIVE_INFINITY }, [undefined], 1n, () => 0]) {
      expect(() => canonicalJson(value)).toThrow(TypeError);
    }
  });

  it('known hash', () => {
    expect(sha256('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });
});

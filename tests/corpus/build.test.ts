import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { type BuildOptions, type BuildState, type BuiltCorpus, buildStores } from '../../src/corpus/build.js';
import { encodeTexts } from '../../src/corpus/encode.js';
import { Encoder } from '../../src/corpus/encoder.js';
import { listSource } from '../../src/corpus/sources.js';
import { TextTokenizer } from '../../src/corpus/tokenizer.js';
import { DataError, StoppedError } from '../../src/errors.js';
import { hashFile } from '../../src/formats/hash.js';
import { loadRecipe } from '../../src/recipe/load.js';
import type { Recipe } from '../../src/recipe/schema.js';
import type { Request } from './build-process.js';
import { temporaryFolder } from './stores.js';

const tiny = loadRecipe(new URL('../../recipes/tiny.yaml', import.meta.url).pathname).recipe;
const tokenizer = await TextTokenizer.load(tiny.corpus.tokenizer);
const text = readFileSync(tiny.corpus.train.path as string, 'utf8');

/** The training text of tiny, split by hash, so that splits lie mixed; and a source of its own for the test split. */
const corpus: Recipe['corpus'] = {
  ...tiny.corpus,
  validation: null,
  holdout: { validation: 0.2, test: 0 },
  // Labels grow beside the stores and are gone on with like them.
  labelField: '@file',
};

async function build(folder: string, more: Partial<BuildOptions> = {}): Promise<BuiltCorpus> {
  return buildStores({
    corpus,
    tokenizer,
    folder,
    experts: 2,
    threads: 1,
    stop: { requested: false, reason: '' },
    progress: () => {},
    say: () => {},
    check: () => {},
    ...more,
  });
}

async function hashesOf(folder: string): Promise<Record<string, string>> {
  const names = readdirSync(folder).filter((name) => /\.(bin|idx)$/.test(name));
  return Object.fromEntries(
    await Promise.all(names.sort().map(async (name) => [name, (await hashFile(join(folder, name))).sha256])),
  );
}

describe('a build that is killed', () => {
  const script = fileURLToPath(new URL('build-process.ts', import.meta.url));
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  const inProcess = (folder: string, kill: Request['kill']) => {
    const request = join(folder, 'request.json');
    writeFileSync(request, JSON.stringify({ folder, corpus, kill } satisfies Request));
    return spawnSync(process.execPath, ['--import', tsx, script, request], { encoding: 'utf8' });
  };

  test('again and again, at any moment, ends with the bytes of one that was not', async () => {
    const undisturbed = temporaryFolder();
    const expected = await build(undisturbed);
    const folder = temporaryFolder();
    const kills: NonNullable<Request['kill']>[] = [
      { check: 1 },
      { check: 4 },
      { milliseconds: 20 },
      { published: 'validation.bin' },
    ];
    const continued = kills.map((kill) => {
      const { signal, stdout, stderr } = inProcess(folder, kill);
      expect(signal, stderr).toBe('SIGKILL');
      return Number(/continues after ([\d,]+)/.exec(stdout)?.[1]?.replace(',', '') ?? 0);
    });
    // Nothing was saved before the first kill, three chunks before the second, all before the last.
    expect(continued.slice(0, 2)).toEqual([0, 0]);
    expect(continued[2]).toBeGreaterThan(0);
    expect([...continued].sort((a, b) => a - b)).toEqual(continued);
    const { status, stdout, stderr } = inProcess(folder, null);
    expect(status, stderr).toBe(0);
    expect(JSON.parse(stdout.trim().split('\n').at(-1)!)).toEqual(expected);
    expect(await hashesOf(folder)).toEqual(await hashesOf(undisturbed));
  }, 300_000);

  test('begins anew where what it left is damaged, and says so', async () => {
    const undisturbed = temporaryFolder();
    const expected = await build(undisturbed);
    const folder = temporaryFolder();
    const stop = { requested: true, reason: 'SIGINT' };
    await expect(build(folder, { stop, chunkCharacters: 10_000 })).rejects.toThrow(StoppedError);
    const part = join(folder, 'partial', 'train.bin');
    const bytes = readFileSync(part);
    writeFileSync(part, bytes.fill(1, 10, 20));
    const said: string[] = [];
    expect(await build(folder, { say: (line) => said.push(line) })).toEqual(expected);
    expect(said).toEqual([expect.stringContaining('damaged')]);
    expect(await hashesOf(folder)).toEqual(await hashesOf(undisturbed));
  });
});

describe('a build that is stopped', () => {
  test('at every chunk goes on there, with documents that are left out counted once', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'mixed.jsonl');
    const lines = text.split('\n').filter((line) => line.trim());
    const written = lines.map((line, i) => (i % 50 === 7 ? '{"text": 5}' : JSON.stringify({ text: line })));
    writeFileSync(path, written.join('\n'));
    const source = { ...corpus.train, path, format: 'jsonl' as const, onBadDocument: 'skip' as const };
    const mixed = { ...corpus, train: source, test: source };
    const expected = await build(folder, { corpus: mixed });
    const hashes = await hashesOf(folder);
    for (const name of ['partial', ...Object.keys(hashes)]) rmSync(join(folder, name), { recursive: true });
    const bad = written.filter((line) => line === '{"text": 5}').length;
    expect(expected.skipped.documents).toBe(2 * bad);
    let stops = 0;
    let built: BuiltCorpus | undefined;
    while (built === undefined) {
      let batches = 0;
      const stop = { requested: false, reason: 'SIGINT' };
      const progress = () => {
        stop.requested = ++batches === 3;
      };
      built = await build(folder, { corpus: mixed, stop, progress, chunkCharacters: 15_000 }).catch(
        (error) => {
          expect(error).toMatchObject({ exitStatus: 75 });
          stops++;
          return undefined;
        },
      );
    }
    expect(stops).toBeGreaterThan(5);
    expect(built).toEqual(expected);
    expect(await hashesOf(folder)).toEqual(hashes);
  });

  test('takes the first documents of each split all the same', async () => {
    const limited = { ...corpus, maxDocuments: 100 };
    const undisturbed = temporaryFolder();
    const expected = await build(undisturbed, { corpus: limited });
    expect(expected.splits.train.documents).toBe(100);
    const folder = temporaryFolder();
    const stop = { requested: true, reason: 'SIGINT' };
    const options = { corpus: limited, chunkCharacters: 3_000 };
    await expect(build(folder, { ...options, stop })).rejects.toThrow(StoppedError);
    expect(await build(folder, options)).toEqual(expected);
    expect(await hashesOf(folder)).toEqual(await hashesOf(undisturbed));
  });
});

describe('what cannot be gone on with is removed', () => {
  test('wrong data, but not by one who has lost the folder', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'broken.jsonl');
    const lines = text.split('\n').filter((line) => line.trim());
    writeFileSync(path, [...lines.map((line) => JSON.stringify({ text: line })), '{'].join('\n'));
    const train = { ...corpus.train, path, format: 'jsonl' as const };
    const broken = { corpus: { ...corpus, train }, chunkCharacters: 10_000 };
    await expect(build(folder, broken)).rejects.toThrow(DataError);
    expect(readdirSync(folder)).toEqual(['broken.jsonl']);
    let ours = 3;
    const check = () => {
      if (ours-- <= 0) throw new StoppedError('no longer ours');
    };
    await expect(build(folder, { ...broken, check })).rejects.toThrow('no longer ours');
    expect(existsSync(join(folder, 'partial', 'saved.json'))).toBe(true);
  });
});

test('tells how much of its files was read, also when it goes on in the middle', async () => {
  const files = {
    train: (await listSource(corpus.train)).files,
    test: (await listSource(corpus.test!)).files,
  };
  const folder = temporaryFolder();
  const states: BuildState[] = [];
  const stop = { requested: false, reason: 'SIGINT' };
  const progress = (state: BuildState) => {
    states.push(state);
    stop.requested = state.source === 'test' && states.at(-2)?.source === 'train';
  };
  const options = { files, stop, progress, chunkCharacters: 10_000 };
  await expect(build(folder, options)).rejects.toThrow(StoppedError);
  await build(folder, options);
  const size = [...files.train, ...files.test].reduce((sum, file) => sum + file.size, 0);
  expect(states.at(-1)).toMatchObject({ read: size, size });
  for (const state of states) expect(state.read).toBeLessThanOrEqual(size);
});

describe('encoding', () => {
  const texts = text.split('\n').filter((line) => line.trim());

  test('gives the same here and in one or several processes', async () => {
    const some = texts.slice(0, 100);
    const expected = await encodeTexts(tokenizer, some);
    for (const threads of [1, 12]) {
      const encoder = new Encoder(tokenizer, threads, 0);
      // Here until they are ready, then there.
      while (encoder.ready < Math.ceil(threads / 4)) expect(await encoder.encode(some)).toEqual(expected);
      const batches = await Promise.all(
        [...texts.keys()].slice(0, 12).map((i) => encoder.encode([texts[i]!])),
      );
      batches.forEach(({ ids }, i) => {
        const at = expected.lengths.subarray(0, i).reduce((sum, length) => sum + length, 0);
        expect(ids).toEqual(expected.ids.subarray(at, at + ids.length));
      });
      encoder.close();
    }
  });

  test('a text without a token is a document without an end token', async () => {
    const { ids, lengths } = await encodeTexts(tokenizer, ['a', '', 'b']);
    expect([...lengths]).toEqual([2, 0, 2]);
    expect([ids[1], ids[3]]).toEqual([tokenizer.eos.id, tokenizer.eos.id]);
  });
});

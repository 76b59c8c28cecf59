import { execFile } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { HubOptions } from '../../../src/corpus/hub/client.js';
import { hubFiles } from '../../../src/corpus/hub/files.js';
import { readDocuments } from '../../../src/corpus/readers.js';
import { listSource } from '../../../src/corpus/sources.js';
import { EnvironmentError, RequestError, StoppedError } from '../../../src/errors.js';
import { temporaryFolder } from '../stores.js';
import { type Commit, commitOf, listen, type TestHub, testHub, testProxy } from './server.js';

const jsonl = (...texts: string[]) => texts.map((text) => `${JSON.stringify({ text })}\n`).join('');
const big = (letter: string) =>
  jsonl(...Array.from({ length: 3000 }, (_, i) => `${letter}${i} ${letter.repeat(90)}`));

const CARD = `---
license: odc-by
configs:
- config_name: en
  data_files:
  - split: train
    path: en/c4-train.*.json.gz
  - split: validation
    path: en/c4-validation.*.json.gz
- config_name: de
  data_files: de/*.json.gz
---
# A data set
`;

const c4 = (): Commit => ({
  files: {
    'README.md': CARD,
    'en/c4-train.00000-of-00002.json.gz': gzipSync(jsonl('one', 'two')),
    'en/c4-train.00001-of-00002.json.gz': gzipSync(jsonl('three')),
    'en/c4-validation.00000-of-00001.json.gz': gzipSync(jsonl('held')),
    'de/c4-train.json.gz': gzipSync(jsonl('eins')),
  },
  large: /\.gz$/,
});

interface Case {
  hub: TestHub;
  home: string;
  /** Of the data set in the cache. */
  cache: string;
  said: string[];
  options: HubOptions;
}

async function caseOf(revisions: Record<string, Commit>, env: NodeJS.ProcessEnv = {}): Promise<Case> {
  const hub = await testHub(revisions);
  const home = temporaryFolder();
  const said: string[] = [];
  const options: HubOptions = {
    env: { HF_HOME: home, HF_ENDPOINT: hub.endpoint, ...env },
    retryDelay: 1,
    say: (text) => said.push(text),
  };
  return { hub, home, cache: join(home, 'hub/datasets--owner--data'), said, options };
}

async function texts(path: string, options: HubOptions, limit = Number.POSITIVE_INFINITY): Promise<string[]> {
  const source = { path, format: 'auto', textField: 'text', onBadDocument: 'stop' } as const;
  const { files } = await listSource(source, options);
  const found: string[] = [];
  for await (const { text } of readDocuments(source, 'document', { files })) {
    if (found.push(text) >= limit) break;
  }
  return found;
}

/** What a misbehaving server returns behind its answer. */
const answered = (_: unknown) => true;

const paths = (hub: TestHub, kind: string) =>
  hub.asked.filter((one) => one.kind === kind).map(({ path }) => path);

describe('a data set by its card', () => {
  test("is listed, downloaded and lies in the cache as Hugging Face's tools have it", async () => {
    const { hub, cache, options } = await caseOf({ main: c4() });
    expect(await texts('hf://datasets/owner/data/en:train', options)).toEqual(['one', 'two', 'three']);
    const commit = commitOf('main');
    expect(readFileSync(join(cache, 'refs/main'), 'utf8')).toBe(commit);
    const link = join(cache, 'snapshots', commit, 'en/c4-train.00000-of-00002.json.gz');
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(readlinkSync(link)).toMatch(/^\.\.\/\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
    expect(readlinkSync(join(cache, 'snapshots', commit, 'README.md'))).toMatch(
      /^\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/,
    );
    expect(readdirSync(join(cache, 'blobs')).filter((name) => name.endsWith('.incomplete'))).toEqual([]);
    // Only folders with data were listed, and nothing was downloaded that was not read.
    expect(paths(hub, 'cdn')).toHaveLength(2);
    const before = hub.asked.length;
    expect(await texts('hf://datasets/owner/data/en:train', options)).toEqual(['one', 'two', 'three']);
    expect(hub.asked.slice(before).map(({ path }) => path)).toEqual([
      '/api/datasets/owner/data/revision/main',
    ]);
  });

  test('is downloaded only as far as it is read', async () => {
    const { hub, options } = await caseOf({ main: c4() });
    expect(await texts('hf://datasets/owner/data/en:train', options, 2)).toEqual(['one', 'two']);
    expect(paths(hub, 'cdn')).toHaveLength(1);
  });

  test('at a commit asks for no revision; a revision with "/" is found', async () => {
    const { hub, options } = await caseOf({ main: c4(), 'refs/pr/1': c4() });
    const at = (revision: string) => texts(`hf://datasets/owner/data@${revision}/en:validation`, options);
    expect(await at(commitOf('main'))).toEqual(['held']);
    expect(hub.asked.some(({ path }) => path.includes('/revision/'))).toBe(false);
    expect(await at('refs/pr/1')).toEqual(['held']);
    expect(await at('refs%2Fpr%2F1')).toEqual(['held']);
  });

  test('names its configurations and splits where one must be chosen', async () => {
    const { options } = await caseOf({ main: c4() });
    const refused = (path: string, expected: string) =>
      expect(hubFiles(path, options)).rejects.toMatchObject({ exitStatus: 2, key: path, expected });
    await refused('hf://datasets/owner/data', 'one of en, de');
    await refused('hf://datasets/owner/data/fr:train', 'one of en, de');
    await refused('hf://datasets/owner/data/en', 'one of train, validation');
    await refused('hf://datasets/owner/data/en:test', 'one of train, validation');
    expect(await texts('hf://datasets/owner/data/de', options)).toEqual(['eins']);
  });

  test('files and patterns of files instead', async () => {
    const { options } = await caseOf({ main: c4() });
    const base = 'hf://datasets/owner/data';
    expect(await texts(`${base}/en/c4-train.00001-of-00002.json.gz`, options)).toEqual(['three']);
    expect(await texts(`${base}/*/c4-train.*`, options)).toEqual(['eins', 'one', 'two', 'three']);
    await expect(hubFiles(`${base}/en/*.txt`, options)).rejects.toMatchObject({ expected: 'en/*.txt' });
    await expect(hubFiles(`${base}/README.m*`, options)).resolves.toMatchObject({ files: [{}] });
  });

  test.each<[string, string]>([
    ['configs: 7', 'configs'],
    ['configs:\n- config_name: a\n  data_files: ../../etc/*.txt', 'the path ../../etc/*.txt'],
    ['configs:\n- config_name: a\n  data_files: https://elsewhere/x.txt', 'the path https://elsewhere/x.txt'],
    ['configs: [', 'Flow sequence'],
    [
      'a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c]',
      'alias',
    ],
  ])('a card that cannot be understood is refused: %j', async (yaml, found) => {
    const { options } = await caseOf({
      main: { files: { 'README.md': `---\n${yaml}\n---\n`, 'a.txt': 'a' } },
    });
    await expect(hubFiles('hf://datasets/owner/data/a', options)).rejects.toMatchObject({
      exitStatus: 2,
      found: expect.stringContaining(found),
    });
  });
});

describe('a data set without a card', () => {
  const files = (...names: string[]): Commit => ({
    files: Object.fromEntries(names.map((name) => [name, jsonl(name)])),
  });

  test.each<[string, string[], string, string[]]>([
    [
      'shards',
      ['data/train-00000-of-00001.jsonl', 'data/extra-00000-of-00001.jsonl', 'other.jsonl'],
      ':extra',
      ['data/extra-00000-of-00001.jsonl'],
    ],
    [
      'folders',
      ['train/b.jsonl', 'train/a.jsonl', 'dev/a.jsonl'],
      ':train',
      ['train/a.jsonl', 'train/b.jsonl'],
    ],
    ['folders', ['train/b.jsonl', 'dev/a.jsonl'], ':validation', ['dev/a.jsonl']],
    ['file names', ['my_train_file.jsonl', 'my-eval.jsonl'], ':test', ['my-eval.jsonl']],
    [
      'nothing',
      ['b.jsonl', 'a.txt', '.hidden.jsonl', 'dataset_infos.json', 'code.py'],
      '',
      ['a.txt', 'b.jsonl'],
    ],
    [
      'a configuration that is a folder',
      ['en/train.jsonl', 'de/train.jsonl'],
      '/de:train',
      ['de/train.jsonl'],
    ],
  ])('has splits by %s', async (_, names, what, expected) => {
    const { options } = await caseOf({ main: files(...names) });
    const { files: found, commit } = await hubFiles(`hf://datasets/owner/data${what}`, options);
    expect(found.map(({ name }) => name)).toEqual(
      expected.map((name) => `hf://datasets/owner/data@${commit}/${name}`),
    );
  });

  test('is read as the Hub converted it where it comes as a program', async () => {
    const { options, said } = await caseOf({
      main: files('data.py'),
      'refs/convert/parquet': files('plain/partial-train/0000.jsonl', 'plain/partial-train/0001.jsonl'),
    });
    const { commit, files: found } = await hubFiles('hf://datasets/owner/data/plain:train', options);
    expect(commit).toBe(commitOf('refs/convert/parquet'));
    expect(found).toHaveLength(2);
    expect(said.join()).toContain('only the first part');
    // The commit that was recorded leads to the same files.
    const again = await hubFiles('hf://datasets/owner/data/plain:train', options, {
      'hf://datasets/owner/data/plain:train': commit,
    });
    expect(again.files.map(({ name }) => name)).toEqual(found.map(({ name }) => name));
  });

  test('and without anything that is read is refused', async () => {
    const { options } = await caseOf({ main: files('data.py', 'table.csv') });
    await expect(hubFiles('hf://datasets/owner/data', options)).rejects.toThrow('no files that are read');
  });

  test('is listed whole, page by page', async () => {
    const names = Array.from({ length: 25 }, (_, i) => `${String(i).padStart(2, '0')}.txt`);
    const { hub, options } = await caseOf({ main: files(...names) });
    hub.page = 10;
    expect((await hubFiles('hf://datasets/owner/data', options)).files).toHaveLength(25);
  });
});

describe('downloads', () => {
  const path = 'hf://datasets/owner/data/a.jsonl';
  const content = big('a');
  const one = (): Record<string, Commit> => ({ main: { files: { 'a.jsonl': content }, large: /a/ } });
  const blobs = (cache: string) =>
    existsSync(join(cache, 'blobs')) ? readdirSync(join(cache, 'blobs')) : [];
  /** Sends the beginning of the content and breaks off. */
  const cut = (response: Parameters<TestHub['misbehave']>[1], from: number, to: number, more = {}) => {
    const all = Buffer.from(content);
    response.writeHead(from === 0 ? 200 : 206, {
      'content-length': all.length - from,
      ...(from > 0 && { 'content-range': `bytes ${from}-${all.length - 1}/${all.length}` }),
      ...more,
    });
    response.write(all.subarray(from, to), () => response.destroy());
    return true;
  };

  test('that break off go on where they were, again and again', async () => {
    const { hub, options } = await caseOf(one());
    let cuts = 0;
    hub.misbehave = ({ kind, range }, response) => {
      if (kind !== 'cdn' || cuts === 8) return false;
      cuts++;
      const from = Number(range?.slice(6, -1) ?? 0);
      return cut(response, from, from + 30_000);
    };
    expect(await texts(path, options)).toHaveLength(3000);
    const ranges = hub.asked.filter(({ kind }) => kind === 'cdn').map(({ range }) => range);
    expect(ranges).toHaveLength(9);
    expect(ranges.slice(0, 3)).toEqual([undefined, 'bytes=30000-', 'bytes=60000-']);
  });

  test('that are stopped leave what has arrived for the next run', async () => {
    const { hub, cache, options } = await caseOf(one());
    hub.misbehave = ({ kind, range }, response) =>
      kind === 'cdn' && range === undefined && cut(response, 0, 50_000);
    const stopping = {
      ...options,
      between: () => {
        if (hub.asked.some(({ kind }) => kind === 'cdn')) throw new StoppedError('stopped');
      },
    };
    await expect(texts(path, stopping)).rejects.toThrow(StoppedError);
    expect(blobs(cache)).toEqual([expect.stringMatching(/^[0-9a-f]{64}\.incomplete$/)]);
    expect(await texts(path, options)).toHaveLength(3000);
    expect(hub.asked.at(-1)!.range).toMatch(/^bytes=[1-9]\d*-$/);
    expect(blobs(cache)).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
  });

  test('begin anew where the server gives no ranges, or what was there is another file', async () => {
    const { hub, cache, options } = await caseOf(one());
    const { hash } = (await hubFiles(path, options)).files[0]!;
    mkdirSync(join(cache, 'blobs'), { recursive: true });
    const incomplete = join(cache, 'blobs', `${await hash()}.incomplete`);
    writeFileSync(incomplete, 'x'.repeat(1000));
    hub.misbehave = ({ kind, range }, response) =>
      kind === 'cdn' && range !== undefined && answered(response.writeHead(200).end(content));
    expect(await texts(path, options)).toHaveLength(3000);
    rmSync(join(cache, 'blobs'), { recursive: true });
    mkdirSync(join(cache, 'blobs'), { recursive: true });
    // The beginning of another file: only the hash tells, and the second time all of it is asked for.
    hub.misbehave = () => false;
    writeFileSync(incomplete, 'x'.repeat(1000));
    expect(await texts(path, options)).toHaveLength(3000);
    writeFileSync(incomplete, 'x'.repeat(content.length + 1));
    rmSync(join(cache, 'blobs', await hash()));
    expect(await texts(path, options)).toHaveLength(3000);
  });

  test('with another hash are never kept', async () => {
    const { hub, cache, options } = await caseOf(one());
    const wrong = Buffer.from(content.replace('a7', 'b7'));
    hub.misbehave = ({ kind }, response) =>
      kind === 'cdn' && answered(response.writeHead(200, { 'content-length': wrong.length }).end(wrong));
    const error = await texts(path, options).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(EnvironmentError);
    expect(error).toMatchObject({ message: expect.stringContaining('another hash'), exitStatus: 74 });
    expect(blobs(cache)).toEqual([]);
    expect(paths(hub, 'cdn')).toHaveLength(2);
  });

  test.each<[string, (response: Parameters<TestHub['misbehave']>[1]) => void]>([
    [
      'HTML',
      (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Log in</html>'),
    ],
    [
      'HTML with the length of the file',
      (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<'.repeat(content.length)),
    ],
    [
      'a body without end',
      (response) => {
        response.writeHead(200);
        const more = () => {
          while (!response.destroyed && response.write('x'.repeat(65_536)));
        };
        response.on('drain', more);
        more();
      },
    ],
    ['nothing', (response) => response.destroy()],
    [
      'another range',
      (response) => response.writeHead(206, { 'content-range': 'bytes 5-9/10' }).end('xxxxx'),
    ],
    [
      'a compressed body',
      (response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('x')),
    ],
    ['redirects without end', (response) => response.writeHead(302, { location: '/again' }).end()],
    ['a redirect to a file', (response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end()],
    ['status 500', (response) => response.writeHead(500).end()],
  ])('answered with %s end in an error, with nothing kept as if it were the file', async (_, answer) => {
    const { hub, cache, options } = await caseOf(one());
    hub.misbehave = ({ kind }, response) => kind === 'cdn' && answered(answer(response));
    await expect(texts(path, options)).rejects.toMatchObject({ exitStatus: 74 });
    expect(blobs(cache).filter((name) => !name.endsWith('.incomplete'))).toEqual([]);
    hub.misbehave = () => false;
    expect(await texts(path, options)).toHaveLength(3000);
  });

  test('wait as long as the Hub asks, and say so', async () => {
    const { hub, options } = await caseOf(one());
    let refusals = 0;
    hub.misbehave = ({ kind }, response) =>
      kind === 'cdn' && refusals++ < 2 && answered(response.writeHead(429, { 'retry-after': '0' }).end());
    expect(await texts(path, options)).toHaveLength(3000);
    expect(paths(hub, 'cdn')).toHaveLength(3);
  });

  test('of one file by several at once happen once', async () => {
    const { hub, options } = await caseOf(one());
    await Promise.all([texts(path, options), texts(path, options), texts(path, options)]);
    expect(paths(hub, 'cdn')).toHaveLength(1);
  });

  test('refuse a disk that is too small before they begin', async () => {
    const { hub, options } = await caseOf(one());
    hub.misbehave = ({ path: asked }, response) => {
      if (!asked.includes('/tree/')) return false;
      const entry = { type: 'file', path: 'a.jsonl', size: 2 ** 50, oid: '1'.repeat(40) };
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify([entry]));
      return true;
    };
    await expect(texts(path, options)).rejects.toMatchObject({
      exitStatus: 74,
      message: expect.stringContaining('disk'),
    });
    expect(paths(hub, 'resolve')).toEqual([]);
  });
});

describe('access', () => {
  test('needs a token where the data set does; it is sent to the Hub and nowhere else', async () => {
    const { hub, home, options } = await caseOf({ main: c4() });
    hub.token = 'secret';
    const path = 'hf://datasets/owner/data/de';
    const error = await texts(path, options).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(RequestError);
    expect(error).toMatchObject({
      hint: expect.stringContaining('HF_TOKEN'),
      message: expect.stringContaining('terms'),
    });
    const wrong = { ...options, env: { ...options.env, HF_TOKEN: 'other' } };
    await expect(texts(path, wrong)).rejects.toMatchObject({ hint: expect.stringContaining('may not read') });
    expect(await texts(path, { ...options, env: { ...options.env, HF_TOKEN: 'secret' } })).toEqual(['eins']);
    for (const { kind, authorization } of hub.asked.slice(-4)) {
      expect(authorization).toBe(kind === 'cdn' ? undefined : 'Bearer secret');
    }
    rmSync(join(home, 'hub'), { recursive: true });
    writeFileSync(join(home, 'token'), 'secret\n');
    expect(await texts(path, options)).toEqual(['eins']);
  });

  test('to what is not there names it', async () => {
    const { options } = await caseOf({ main: c4() });
    await expect(hubFiles('hf://datasets/owner/data@gone/en:train', options)).rejects.toMatchObject({
      exitStatus: 2,
      found: 'no owner/data at gone',
    });
    await expect(hubFiles('hf://datasets/owner/none', options)).rejects.toThrow('no such data set');
    for (const path of [
      'hf://models/a/b',
      'hf://datasets/a',
      'hf://datasets/a/b/../c',
      'hf://datasets/a/b@../c',
    ]) {
      await expect(hubFiles(path, options)).rejects.toMatchObject({ exitStatus: 2, key: path });
    }
  });

  test.each<[string, string, (body: (value: unknown) => void) => void]>([
    ['HTML', 'something else than JSON', () => {}],
    ['no list', 'something else than was asked', (json) => json({ error: 'x' })],
    ['numbers', 'something else than was asked', (json) => json([1])],
    ['names that leave the folder', 'cannot be one', (json) => json([entry('../../../etc/cron.d/x')])],
    ['absolute names', 'cannot be one', (json) => json([entry('/etc/passwd')])],
    ['names with backslashes', 'cannot be one', (json) => json([entry('a\\..\\b')])],
    ['hashes that are paths', 'cannot be one', (json) => json([{ ...entry('a.txt'), oid: '../../x' }])],
    [
      'sizes below nothing',
      'something else than was asked',
      (json) => json([{ ...entry('a.txt'), size: -1 }]),
    ],
  ])('lists that are %s are refused', async (_, message, answer) => {
    const { hub, home, options } = await caseOf({ main: c4() });
    hub.misbehave = ({ path }, response) => {
      if (!path.includes('/tree/')) return false;
      const send = (type: string, body: string) =>
        response.writeHead(200, { 'content-type': type }).end(body);
      answer((value) => send('application/json', JSON.stringify(value)));
      if (!response.headersSent) send('text/html', '<html>');
      return true;
    };
    const error = await hubFiles('hf://datasets/owner/data', options).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ message: expect.stringContaining(message) });
    expect(existsSync(join(home, '..', 'etc'))).toBe(false);
  });

  const entry = (path: string) => ({ type: 'file', path, size: 1, oid: '1'.repeat(40) });

  test('lists that go on elsewhere, or without end, are refused', async () => {
    const { hub, options } = await caseOf({ main: c4() });
    hub.misbehave = ({ path }, response) => {
      if (!path.includes('/tree/')) return false;
      const link = '<http://127.0.0.2:1/api?x>; rel="next"';
      response.writeHead(200, { 'content-type': 'application/json', link }).end('[]');
      return true;
    };
    await expect(hubFiles('hf://datasets/owner/data', options)).rejects.toThrow('another host');
    hub.misbehave = ({ path }, response) => {
      if (!path.includes('/tree/')) return false;
      response.writeHead(200, { 'content-type': 'application/json' });
      const more = () => {
        while (!response.destroyed && response.write(' '.repeat(1 << 20)));
      };
      response.on('drain', more);
      more();
      return true;
    };
    await expect(hubFiles('hf://datasets/owner/data', options)).rejects.toThrow('too long');
  });
});

describe('without a network', () => {
  const path = 'hf://datasets/owner/data/en:train';
  const offline = (options: HubOptions) => ({
    ...options,
    env: { ...options.env, HF_HUB_OFFLINE: '1', HF_ENDPOINT: 'http://127.0.0.1:9' },
  });

  test('what the cache holds is used; what it lacks is named', async () => {
    const { options } = await caseOf({ main: c4() });
    await expect(texts(path, offline(options))).rejects.toMatchObject({
      exitStatus: 2,
      expected: 'the revision main',
    });
    expect(await texts(path, options, 1)).toEqual(['one']);
    expect(await texts(path, offline(options), 2)).toEqual(['one', 'two']);
    // The list of all files is kept, so the corpus does not silently become a smaller one.
    await expect(texts(path, offline(options))).rejects.toMatchObject({
      message: expect.stringContaining('not in the cache'),
      key: expect.stringContaining('c4-train.00001-of-00002.json.gz'),
    });
    expect(await texts(path, options)).toEqual(['one', 'two', 'three']);
    expect(await texts(path, offline(options))).toEqual(['one', 'two', 'three']);
  });

  test("what Hugging Face's own tools downloaded is used", async () => {
    const { cache, options, said } = await caseOf({ main: c4() });
    expect(await texts(path, options)).toHaveLength(3);
    rmSync(join(cache, '.moe-disco'), { recursive: true });
    expect(await texts(path, offline(options))).toEqual(['one', 'two', 'three']);
    expect(said.join()).toContain('those that the cache holds');
    // It was no list of all files, so it is none later.
    expect(existsSync(join(cache, '.moe-disco'))).toBe(false);
  });

  test('a server that cannot be reached is an error that tells what to do', async () => {
    const { options } = await caseOf({ main: c4() });
    const unreachable = { ...options, env: { ...options.env, HF_ENDPOINT: 'http://127.0.0.1:9' } };
    await expect(hubFiles(path, unreachable)).rejects.toMatchObject({
      exitStatus: 74,
      hint: expect.stringContaining('HF_HUB_OFFLINE'),
    });
    const nonsense = { ...options, env: { ...options.env, HF_ENDPOINT: 'nonsense' } };
    await expect(hubFiles(path, nonsense)).rejects.toThrow('HF_ENDPOINT');
  });
});

test('through the proxy of the environment, but where NO_PROXY says otherwise', async () => {
  const proxy = await testProxy();
  const { options } = await caseOf({ main: c4() }, { HTTP_PROXY: proxy.address });
  expect(await texts('hf://datasets/owner/data/de', options)).toEqual(['eins']);
  expect(new Set(proxy.tunnels).size).toBe(2);
  const direct = await caseOf({ main: c4() }, { HTTP_PROXY: proxy.address, NO_PROXY: '127.0.0.1' });
  const before = proxy.tunnels.length;
  expect(await texts('hf://datasets/owner/data/de', direct.options)).toEqual(['eins']);
  expect(proxy.tunnels).toHaveLength(before);
});

test('over TLS whose certificate NODE_EXTRA_CA_CERTS names, through a tunnel', async () => {
  const file = (name: string) => new URL(name, import.meta.url).pathname;
  const proxy = await testProxy();
  const commit = commitOf('main');
  const tls = createTlsServer(
    { key: readFileSync(file('key.pem')), cert: readFileSync(file('certificate.pem')) },
    (request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const entry = { type: 'file', path: 'a.txt', size: 1, oid: '1'.repeat(40) };
      response.end(JSON.stringify(request.url!.includes('/tree/') ? [entry] : { sha: commit }));
    },
  );
  const env = {
    ...process.env,
    HF_HOME: temporaryFolder(),
    HF_ENDPOINT: `https://${await listen(tls)}`,
    HTTPS_PROXY: proxy.address,
    NO_PROXY: '',
    no_proxy: '',
  };
  // Node reads the variable when it starts.
  const ask = (more: NodeJS.ProcessEnv) =>
    promisify(execFile)(
      process.execPath,
      ['--import', 'tsx', file('ask-process.ts'), 'hf://datasets/owner/data'],
      {
        env: { ...env, ...more },
      },
    );
  const { stdout } = await ask({ NODE_EXTRA_CA_CERTS: file('certificate.pem') });
  expect(stdout).toBe(`hf://datasets/owner/data@${commit}/a.txt\n`);
  expect(proxy.tunnels.length).toBeGreaterThan(0);
  await expect(ask({ NODE_EXTRA_CA_CERTS: '' })).rejects.toMatchObject({
    stderr: expect.stringContaining('certificate'),
  });
});

import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test, vi } from 'vitest';
import { buildCorpus, splitsOf } from '../../../src/corpus/stage.js';
import { StoppedError } from '../../../src/errors.js';
import { loadRecipe } from '../../../src/recipe/load.js';
import type { StageRun } from '../../../src/run/context.js';
import { RunFolder } from '../../../src/run/folder.js';
import { readManifest } from '../../../src/run/manifest.js';
import { temporaryFolder } from '../stores.js';
import { commitOf, type TestHub, testHub } from './server.js';

const PATH = 'hf://datasets/owner/data:train';
const tiny = new URL('../../../recipes/tiny.yaml', import.meta.url).pathname;
const lines = (count: number, word: string) =>
  Array.from({ length: count }, (_, i) => `${JSON.stringify({ text: `${word} number ${i}` })}\n`).join('');
const files = (word: string) => ({
  files: { 'train-0.jsonl': lines(50, word), 'train-1.jsonl': lines(50, `other ${word}`) },
  large: /jsonl/,
});

/** The tiny recipe on a data set of the Hub, and what was said. */
function runOn(hub: TestHub, overrides: string[] = []): StageRun & { said: string[] } {
  vi.stubEnv('HF_ENDPOINT', hub.endpoint);
  vi.stubEnv('HF_HOME', temporaryFolder());
  const { recipe } = loadRecipe(tiny, [
    `corpus.train.path=${PATH}`,
    'corpus.train.format=auto',
    'corpus.validation=null',
    'corpus.test=null',
    'corpus.holdout.validation=0.2',
    'corpus.holdout.test=0.2',
    'execution.threads=1',
    ...overrides,
  ]);
  const said: string[] = [];
  return {
    run: new RunFolder(join(temporaryFolder(), 'run')),
    recipe,
    reporter: { progress: () => {}, say: (text) => said.push(text) },
    stop: { requested: false, reason: 'SIGTERM' },
    device: 'cpu',
    said,
  };
}

test('a corpus from the Hub records its commit, and finished asks nobody again', async () => {
  const hub = await testHub({ main: files('word') });
  const context = runOn(hub);
  const done = await buildCorpus(context);
  const { train, validation, test: held } = splitsOf(done);
  expect(train.documents + validation.documents + held.documents).toBe(100);
  const commits = { [PATH]: commitOf('main') };
  expect(done.summary).toMatchObject({ commits });
  expect(readManifest(context.run.path('corpus'))!.attempts[0]!.execution).toEqual({ commits });
  expect(JSON.parse(readFileSync(context.run.path('corpus', 'corpus.json'), 'utf8'))).toMatchObject({
    commits,
  });
  // A hash of the Hub is that of the content: no file has to be read for it.
  expect(done.inputs['train/0']).toMatch(/^[0-9a-f]{64}$/);

  const before = hub.asked.length;
  rmSync(process.env.HF_HOME!, { recursive: true });
  hub.revisions = { main: files('moved on') };
  expect(await buildCorpus(context)).toEqual(done);
  expect(hub.asked).toHaveLength(before);
});

test('one that was stopped goes on with the commit it began with, and with what had arrived', async () => {
  const hub = await testHub({ main: files('word'), later: files('later') });
  const context = runOn(hub);
  const stop = { requested: false, reason: 'SIGTERM' };
  hub.misbehave = ({ kind }) => {
    if (kind === 'cdn') stop.requested = true;
    return false;
  };
  await expect(buildCorpus({ ...context, stop })).rejects.toThrow(StoppedError);
  // The branch moves on meanwhile.
  const first = hub.revisions.main!;
  hub.misbehave = ({ path }, response) => {
    if (!path.endsWith('/revision/main')) return false;
    const sha = commitOf('later');
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ id: 'owner/data', sha }));
    return true;
  };
  const done = await buildCorpus(context);
  expect(done.summary).toMatchObject({ commits: { [PATH]: commitOf('main') } });
  expect(first).toBe(hub.revisions.main);
});

test('only the shards that are needed are downloaded', async () => {
  const hub = await testHub({ main: files('word') });
  const done = await buildCorpus(runOn(hub, ['corpus.maxDocuments=3']));
  expect(splitsOf(done).train.documents).toBe(3);
  expect(hub.asked.filter(({ kind }) => kind === 'cdn')).toHaveLength(1);
});

test('check says that it did not look, and asks nobody', async () => {
  const hub = await testHub({ main: files('word') });
  const home = temporaryFolder();
  const main = new URL('../../../src/cli/main.ts', import.meta.url).pathname;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', 'tsx', main, 'check', 'tiny', `corpus.train.path=${PATH}`, 'corpus.train.format=auto'],
    { env: { ...process.env, HF_ENDPOINT: hub.endpoint, HF_HOME: home } },
  );
  expect(stdout).toContain(`${PATH}: on the Hub, not looked at`);
  expect(hub.asked).toEqual([]);
  expect(readdirSync(home)).toEqual([]);
});

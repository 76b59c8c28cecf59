/** Commands on model folders as processes: killed in the middle, stopped, on a full disk. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { hasWeights, openWeights, writeHuggingFaceFolder } from '../../src/formats/hf-folder.js';
import type { TensorSource } from '../../src/formats/safetensors.js';
import { parseModelConfig, toHuggingFaceConfig } from '../../src/model/config.js';
import { allParameters } from '../../src/model/model-folder.js';
import { disco, start, until } from '../cli/spawn.js';
import { tinyJson } from '../model/fixtures.js';
import { accepted, refused } from './refusals.js';

let root: string;
let source: string;
const at = (...parts: string[]) => join(root, ...parts);

/** Large enough to be killed in the middle: 80 MB in 5 shards. */
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'disco-folders-'));
  source = at('source');
  const config = parseModelConfig(
    { ...tinyJson, vocab_size: 40_000, hidden_size: 200, num_attention_heads: 4 },
    'x',
  );
  const piece = new Uint8Array(1 << 16).map((_, i) => (i * 7919) % 113);
  const tensors = allParameters(config).map(({ name, shape, size }): TensorSource => {
    const write: TensorSource['write'] = (sink) => {
      for (let left = 4 * size; left > 0; left -= piece.length)
        sink(piece.subarray(0, Math.min(left, piece.length)));
    };
    return { name, dtype: 'F32', shape: [...shape], write };
  });
  await writeHuggingFaceFolder(source, { config: toHuggingFaceConfig(config), tensors, maxShardBytes: 16e6 });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** What is hidden in a folder: folders in the making, and what is left of them. */
const hidden = (place: string) =>
  existsSync(place) ? readdirSync(place).filter((name) => name.startsWith('.')) : [];
const hasBegun = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).some((name) => name.includes('safetensors'));

/** Starts a command that writes into a folder of `place`, and sends the signal as soon as it writes weights. */
async function interrupt(args: readonly string[], place: string, signal: 'SIGKILL' | 'SIGTERM') {
  const running = start(args);
  await until(
    () => hidden(place).some((name) => hasBegun(join(place, name))),
    'weights are being written',
    1,
  );
  process.kill(running.pid, signal);
  return running.outcome;
}

it.each([
  { command: 'split', options: ['--shard-size', '8MB'] },
  { command: 'convert', options: ['--shard-size', '8MB', '--dtype', 'bf16'] },
])(
  '$command killed in the middle leaves nothing under its name, and runs again',
  async ({ command, options }) => {
    const place = at(`killed-${command}`);
    const into = join(place, 'new');
    const args = [command, source, '--into', into, ...options];
    const outcome = await interrupt(args, place, 'SIGKILL');
    expect(outcome.signal).toBe('SIGKILL');
    expect(existsSync(into)).toBe(false);
    const [left] = hidden(place);
    expect(left).toMatch(/^\.new\.tmp-/);
    expect(existsSync(join(place, left!, 'config.json'))).toBe(false);
    const again = await accepted(args);
    expect(again.stderr).toContain(`${left} was left`);
    expect(readdirSync(place).sort()).toEqual([left, 'new']);
  },
  300_000,
);

it('stopped gently, it ends with 75 and leaves nothing at all', async () => {
  const place = at('stopped');
  const args = ['convert', source, '--into', join(place, 'new'), '--dtype', 'bf16', '--shard-size', '8MB'];
  const outcome = await interrupt(args, place, 'SIGTERM');
  expect(outcome.status, outcome.stderr).toBe(75);
  expect(readdirSync(place)).toEqual([]);
}, 300_000);

it('split, merge, inspect and convert go together; the second time is refused', async () => {
  await accepted(['split', source, '--into', at('parts')]);
  const folders = [0, 1, 2, 3].map((k) => at('parts', String(k)));
  await accepted(['merge', ...folders, '--into', at('merged'), '--shard-size', '16MB']);
  for (const name of readdirSync(source).filter((file) => file.endsWith('.safetensors')))
    expect(readFileSync(at('merged', name)).equals(readFileSync(join(source, name))), name).toBe(true);
  const { stdout } = await accepted(['inspect', at('merged'), '--json']);
  expect(JSON.parse(stdout)).toMatchObject({ family: 'qwen2_moe', kind: 'whole', experts: 4 });
  expect((await accepted(['inspect', at('parts', '1')])).stdout).toContain('expert 1 of 4 of source');
  const card = readFileSync(at('merged', 'README.md'), 'utf8');
  expect(card).toContain(`moe-disco merge ${folders.join(' ')} --into ${at('merged')} --shard-size 16MB`);
  await refused(['merge', ...folders, '--into', at('merged')], 2, ['not empty', '--into']);
  await refused(['merge', ...folders], 2, ['merge FOLDER... --into DIR']);
  await refused(['merge', at('parts', '0'), '--gamma', 'uniform'], 2, ['options without --into']);
  await refused(['export', source, '--into', at('out')], 2, ['is not a run folder']);
  for (const args of [
    ['--dtype', 'int8'],
    ['--shard-size', 'big'],
    ['--layout', 'flat'],
  ])
    expect((await disco(['convert', source, '--into', at('out'), ...args])).status).toBe(2);
  expect(existsSync(at('out'))).toBe(false);
}, 300_000);

it('a truncated shard and a damaged index are named', async () => {
  const weights = openWeights(source);
  const [shard] = weights.files as [string];
  weights.close();
  expect(hasWeights(source)).toBe(true);
  const bytes = readFileSync(shard);
  writeFileSync(shard, bytes.subarray(0, -1));
  await refused(['inspect', source], 2, ['truncated', shard]);
  await refused(['split', source, '--into', at('out')], 2, ['truncated', shard]);
  writeFileSync(shard, bytes);
  writeFileSync(join(source, 'model.safetensors.index.json'), '{}');
  await refused(['convert', source, '--into', at('out')], 2, ['model.safetensors.index.json', 'weight_map']);
  expect(readdirSync(root).includes('out')).toBe(false);
}, 300_000);

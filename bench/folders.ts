/**
 * `npm run bench:folders -- --into DIR [--gigabytes 8]`: split, merge and convert of a synthetic checkpoint with the
 * layers of Qwen1.5-MoE-A2.7B and four experts, beside `cp --reflink=never` of the same checkpoint in the same run.
 *
 * Each command is a process of its own. Its anonymous memory (RssAnon) is sampled from /proc every 20 ms, the bytes that
 * it read and wrote are those of /proc/PID/io. Every one begins with its input out of the page cache and nothing waiting
 * to be written. Needs Linux, and disk for six times the checkpoint; what it made is removed at the end.
 */
import { execFileSync, spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { openWeights, writeHuggingFaceFolder } from '../src/formats/hf-folder.js';
import { freeBytes } from '../src/formats/new-folder.js';
import type { TensorSource } from '../src/formats/safetensors.js';
import { parseModelConfig, toHuggingFaceConfig } from '../src/model/config.js';
import { allParameters } from '../src/model/model-folder.js';
import { countParameters, elementCount } from '../src/model/parameters.js';

const EXPERTS = 4;
const MAIN = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url));
const TSX = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;

/** The published configuration with four experts and so many layers. */
function configOf(layers: number) {
  const json = {
    model_type: 'qwen2_moe',
    vocab_size: 151936,
    hidden_size: 2048,
    num_hidden_layers: layers,
    num_attention_heads: 16,
    num_key_value_heads: 16,
    intermediate_size: 5632,
    moe_intermediate_size: 1408,
    shared_expert_intermediate_size: 5632,
    num_experts: EXPERTS,
    num_experts_per_tok: EXPERTS,
  };
  return parseModelConfig(json, 'config.json');
}

/** Layers with which the model weighs about `bytes` in bfloat16; vocabulary and all for less than that. */
function layersFor(bytes: number): number {
  const size = (layers: number) => 2 * countParameters(configOf(layers)).total;
  return Math.max(1, Math.round((bytes - size(1)) / (size(2) - size(1))) + 1);
}

const random = new Uint8Array(1 << 23);
const numbers = new Uint16Array(random.buffer);

/** Random numbers between 2^-8 and 1 in size: nothing that compresses, is sparse, infinite or no number. */
function writeRandom(bytes: number, sink: (piece: Uint8Array) => void): void {
  for (let left = bytes; left > 0; left -= random.length) {
    randomFillSync(random);
    for (let i = 0; i < numbers.length; i++) numbers[i] = (numbers[i]! & 0x83ff) | 0x3c00;
    sink(random.subarray(0, Math.min(left, random.length)));
  }
}

async function makeCheckpoint(folder: string, layers: number): Promise<void> {
  const config = configOf(layers);
  const tensors = allParameters(config).map(
    ({ name, shape }): TensorSource => ({
      name,
      dtype: 'BF16',
      shape: [...shape],
      write: (sink) => writeRandom(2 * elementCount(shape), sink),
    }),
  );
  await writeHuggingFaceFolder(folder, { config: toHuggingFaceConfig(config, 'bfloat16'), tensors });
}

/** Changes a number in every half megabyte of what the submodels share, as a training would. */
function pretendTraining(folder: string, seed: number): void {
  const weights = openWeights(folder);
  const routers = new Set(
    allParameters(configOf(1))
      .filter(({ role }) => role === 'router')
      .map(({ part }) => part.split('.').at(-2)),
  );
  for (const name of weights.names) {
    if (routers.has(name.split('.').at(-2))) continue;
    const { offset, bytes } = weights.info(name);
    const descriptor = openSync(weights.file(name), 'r+');
    for (let at = 0; at < bytes; at += 1 << 19) writeSync(descriptor, Uint8Array.of(seed), 0, 1, offset + at);
    closeSync(descriptor);
  }
  weights.close();
}

/** Files of a folder and below. */
function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Writes out whatever waits, and takes files out of the page cache. */
function makeCold(folders: readonly string[]): void {
  execFileSync('sync');
  for (const file of folders.flatMap(filesOf)) {
    execFileSync('dd', [`of=${file}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0'], {
      stdio: 'ignore',
    });
  }
}

interface Measured {
  what: string;
  seconds: number;
  read: number;
  written: number;
  anonymous: number;
}

function numberIn(file: string, key: string): number {
  try {
    return Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(readFileSync(file, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0; // the process has ended
  }
}

function measure(
  what: string,
  command: string,
  args: readonly string[],
  inputs: readonly string[],
): Promise<Measured> {
  makeCold(inputs);
  return new Promise((resolve, reject) => {
    const begin = performance.now();
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    const result: Measured = { what, seconds: 0, read: 0, written: 0, anonymous: 0 };
    const sample = () => {
      const place = `/proc/${child.pid}`;
      result.anonymous = Math.max(result.anonymous, 1024 * numberIn(`${place}/status`, 'RssAnon'));
      result.read = Math.max(result.read, numberIn(`${place}/io`, 'rchar'));
      result.written = Math.max(result.written, numberIn(`${place}/io`, 'wchar'));
    };
    const timer = setInterval(sample, 20);
    child.on('error', reject);
    child.on('exit', (status) => {
      clearInterval(timer);
      result.seconds = (performance.now() - begin) / 1000;
      if (status !== 0) reject(new Error(`${what} ended with ${status}`));
      else resolve(result);
    });
  });
}

const disco = (what: string, args: readonly string[], inputs: readonly string[]) =>
  measure(what, process.execPath, ['--import', TSX, MAIN, ...args], inputs);

function table(rows: readonly Measured[]): string {
  const [cp] = rows as [Measured];
  const rate = ({ read, written, seconds }: Measured) => (read + written) / seconds;
  const lines = rows.map((row) => {
    const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(2);
    const cells = [
      ...[row.what, row.seconds.toFixed(1), gigabytes(row.read), gigabytes(row.written)],
      ...[
        (rate(row) / 1e6).toFixed(0),
        (rate(row) / rate(cp)).toFixed(2),
        (row.anonymous / 2 ** 20).toFixed(0),
      ],
    ];
    return `| ${cells.join(' | ')} |`;
  });
  return [
    '| command | seconds | read, GB | written, GB | read + written, MB/s | of cp | peak RssAnon, MiB |',
    '|---|---:|---:|---:|---:|---:|---:|',
    ...lines,
  ].join('\n');
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { into: { type: 'string' }, gigabytes: { type: 'string', default: '8' } },
  });
  const { into, gigabytes } = values;
  if (into === undefined || existsSync(into))
    throw new Error('--into must name a folder that does not exist');
  const layers = layersFor(Number(gigabytes) * 1e9);
  const bytes = 2 * countParameters(configOf(layers)).total;
  if (freeBytes(into) < 6 * bytes)
    throw new Error(`${into}: ${(6 * bytes) / 1e9} GB of free disk are needed`);
  const [model, copy, parts, merged, converted] = ['model', 'copy', 'parts', 'merged', 'converted'].map(
    (name) => join(into, name),
  ) as [string, string, string, string, string];
  mkdirSync(into, { recursive: true });
  try {
    console.log(
      `${layers} layers, ${EXPERTS} experts, ${(bytes / 1e9).toFixed(2)} GB of bfloat16; ${cpus().length} x ${cpus()[0]?.model}`,
    );
    await makeCheckpoint(model, layers);
    const rows = [await measure('cp --reflink=never', 'cp', ['-r', '--reflink=never', model, copy], [model])];
    rmSync(copy, { recursive: true });
    const syncing = `cp -r --reflink=never '${model}' '${copy}' && sync -f '${copy}'`;
    const synced = await measure('the same, then sync', 'bash', ['-c', syncing], [model]);
    rows.push({ ...synced, read: rows[0]!.read, written: rows[0]!.written });
    rmSync(copy, { recursive: true });
    rows.push(await disco('split', ['split', model, '--into', parts], [model]));
    const folders = Array.from({ length: EXPERTS }, (_, k) => join(parts, String(k)));
    for (const [k, folder] of folders.entries()) pretendTraining(folder, k);
    rows.push(await disco('merge', ['merge', ...folders, '--into', merged], folders));
    rmSync(merged, { recursive: true });
    rmSync(parts, { recursive: true });
    const options = ['--dtype', 'f16', '--shard-size', '2GB'];
    rows.push(
      await disco('convert --dtype f16', ['convert', model, '--into', converted, ...options], [model]),
    );
    console.log(table(rows));
  } finally {
    rmSync(into, { recursive: true, force: true });
  }
}

await main();

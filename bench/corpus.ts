/**
 * From documents to tokens, end to end, beside Python's tokenizers doing the same from the same file in the same run:
 *
 *   npm run bench:corpus -- --python PYTHON [--megabytes 64] [--rounds 3] [--sizes 16,64,256] [--into FOLDER]
 *
 * PYTHON is an interpreter with tokenizers 0.23.2, pyarrow and numpy, Linux with taskset the machine. The text is
 * WikiText-2's, in documents of about 2,000 characters, repeated. Both sides are whole processes, start included, and
 * what they write must be equal byte for byte. "busy ratio" is that of the processor time, which other work on the
 * machine disturbs less. Memory is the sum of the peaks (VmHWM) of a side's processes.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { buildStores } from '../src/corpus/build.js';
import { TextTokenizer } from '../src/corpus/tokenizer.js';
import { hashFile } from '../src/formats/hash.js';
import { loadRecipe } from '../src/recipe/load.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TOKENIZER = join(ROOT, 'data', 'tokenizer', 'bpe-4096.json');

const PEER = `
import json, sys
import numpy as np
from tokenizers import Tokenizer
source, tokenizer, out = sys.argv[1:]
if out == 'parquet':
    import pyarrow as pa, pyarrow.parquet as pq
    writer = None
    def write(texts):
        global writer
        table = pa.table({'text': texts})
        if writer is None: writer = pq.ParquetWriter(source + '.parquet', table.schema, compression='snappy')
        writer.write_table(table)
    texts = []
    for line in open(source, encoding='utf8'):
        texts.append(json.loads(line)['text'])
        if len(texts) == 20000: write(texts); texts = []
    if texts: write(texts)
    writer.close()
    sys.exit()
encoder = Tokenizer.from_file(tokenizer)
eos = encoder.token_to_id('<|endoftext|>')
def documents():
    if source.endswith('.parquet'):
        import pyarrow.parquet as pq
        for batch in pq.ParquetFile(source).iter_batches(batch_size=1000, columns=['text']):
            yield batch.column(0).to_pylist()
        return
    texts = []
    for line in open(source, encoding='utf8'):
        texts.append(json.loads(line)['text'])
        if len(texts) == 1000: yield texts; texts = []
    if texts: yield texts
with open(out, 'wb') as file:
    for texts in documents():
        for encoding in encoder.encode_batch(texts, add_special_tokens=False):
            np.array(encoding.ids + [eos], dtype='<u2').tofile(file)
`;

interface Measured {
  seconds: number;
  /** Seconds of processors. */
  busy: number;
  /** Bytes. */
  memory: number;
}

interface Used {
  memory: number;
  seconds: number;
}

/** Peak memory and processor time of a process and those below it; of those that have ended, what they had. */
function look(pid: number, into: Map<number, Used>): void {
  try {
    const peak = /VmHWM:\s*(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A process that has ended and was not yet asked for has no memory any more.
    if (peak !== undefined) {
      into.set(pid, {
        memory: 1024 * Number(peak),
        seconds: (Number(fields[11]) + Number(fields[12])) / 100,
      });
    }
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim();
    for (const child of children === '' ? [] : children.split(' ')) look(Number(child), into);
  } catch {
    // It has ended meanwhile.
  }
}

/** Runs a command on the first `cores` cores. */
async function measure(cores: number, command: readonly string[]): Promise<Measured> {
  const list = cores === 1 ? '0' : `0-${cores - 1}`;
  const began = performance.now();
  const env = { ...process.env, TOKENIZERS_PARALLELISM: 'true', RAYON_NUM_THREADS: String(cores) };
  const child = spawn('taskset', ['-c', list, ...command], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const seen = new Map<number, Used>();
  const timer = setInterval(() => look(child.pid!, seen), 100);
  const [code] = (await once(child, 'exit')) as [number | null];
  clearInterval(timer);
  if (code !== 0) throw new Error(`${command.join(' ').slice(0, 200)} ended with ${code}`);
  const sum = (key: keyof Used) => [...seen.values()].reduce((total, used) => total + used[key], 0);
  return { seconds: (performance.now() - began) / 1000, busy: sum('seconds'), memory: sum('memory') };
}

/** Documents of about 2,000 characters of real text. */
function documents(): string[] {
  const text = gunzipSync(readFileSync(join(ROOT, 'data', 'wikitext-2', 'train.txt.gz'))).toString('utf8');
  const found: string[] = [];
  let lines: string[] = [];
  for (const line of text.split('\n').filter((one) => one.trim() !== '')) {
    lines.push(line.trim());
    if (lines.reduce((sum, { length }) => sum + length, 0) < 2000) continue;
    found.push(lines.join('\n'));
    lines = [];
  }
  return found;
}

/** Writes JSONL with `bytes` of text, and returns how many it became. */
async function writeJsonl(path: string, bytes: number): Promise<number> {
  const file = createWriteStream(path);
  const all = documents();
  let written = 0;
  for (let i = 0; written < bytes; i++) {
    const text = all[i % all.length]!;
    written += Buffer.byteLength(text);
    if (!file.write(`${JSON.stringify({ text })}\n`)) await once(file, 'drain');
  }
  file.end();
  await once(file, 'finish');
  return written;
}

/** This program's side: one corpus in this process. */
async function build(path: string, folder: string, threads: number): Promise<void> {
  const { recipe } = loadRecipe(join(ROOT, 'recipes', 'tiny.yaml'));
  const format = path.endsWith('.parquet') ? ('parquet' as const) : ('jsonl' as const);
  const train = { ...recipe.corpus.train, path, format };
  await buildStores({
    corpus: { ...recipe.corpus, train },
    tokenizer: await TextTokenizer.load(TOKENIZER),
    folder,
    experts: 1,
    threads,
    stop: { requested: false, reason: '' },
    progress: () => {},
    say: console.log,
    check: () => {},
  });
}

function ours(path: string, out: string, cores: number): string[] {
  mkdirSync(out, { recursive: true });
  const script = fileURLToPath(import.meta.url);
  return [
    process.execPath,
    '--import',
    'tsx',
    script,
    '--build',
    path,
    '--into',
    out,
    '--threads',
    `${cores}`,
  ];
}

const median = (list: number[]): number => list.sort((a, b) => a - b)[Math.floor(list.length / 2)]!;
const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0);

interface Place {
  folder: string;
  python: string;
}

function peer({ python }: Place, path: string, out: string): string[] {
  return [python, '-c', PEER, path, TOKENIZER, out];
}

/** One row of the first table: both sides in turn, round after round. */
async function compare(
  place: Place,
  path: string,
  bytes: number,
  cores: number,
  rounds: number,
): Promise<void> {
  const [mine, theirs] = [join(place.folder, 'ours'), join(place.folder, 'peer.bin')];
  const all: { a: Measured; b: Measured }[] = [];
  for (let round = 0; round < rounds; round++) {
    const a = await measure(cores, ours(path, mine, cores));
    const b = await measure(cores, peer(place, path, theirs));
    const hashes = await Promise.all([join(mine, 'train.bin'), theirs].map((file) => hashFile(file)));
    if (hashes[0]!.sha256 !== hashes[1]!.sha256) throw new Error('the two wrote different tokens');
    rmSync(mine, { recursive: true });
    all.push({ a, b });
  }
  const speed = (side: 'a' | 'b') => median(all.map((one) => bytes / 1e6 / one[side].seconds));
  const peak = (side: 'a' | 'b') => megabytes(Math.max(...all.map((one) => one[side].memory)));
  const busy = median(all.map(({ a, b }) => b.busy / a.busy));
  const [a, b] = [speed('a'), speed('b')];
  const row = [cores, a.toFixed(2), b.toFixed(2), (a / b).toFixed(2), busy.toFixed(2), peak('a'), peak('b')];
  print(path.endsWith('.parquet') ? 'Parquet' : 'JSONL', row);
}

/** One row of the second table. */
async function grow(place: Place, path: string, size: number): Promise<void> {
  const written = await writeJsonl(path, size * 1e6);
  const out = join(place.folder, 'ours');
  const { seconds, memory } = await measure(2, ours(path, out, 2));
  rmSync(out, { recursive: true });
  print(megabytes(written), [seconds.toFixed(1), (written / 1e6 / seconds).toFixed(2), megabytes(memory)]);
}

function print(name: string, row: readonly (string | number)[]): void {
  console.log(`${name.padEnd(10)}${row.map((text) => String(text).padStart(12)).join('')}`);
}

async function main(place: Place, { megabytes: size, rounds, sizes }: Options): Promise<void> {
  console.log(`${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}`);
  const jsonl = join(place.folder, 'corpus.jsonl');
  const bytes = await writeJsonl(jsonl, Number(size) * 1e6);
  await measure(1, peer(place, jsonl, 'parquet'));
  console.log(`\n${megabytes(bytes)} MB of text; MB/s, median of ${rounds} rounds; memory in MB`);
  print('from', ['cores', 'ours', 'Python', 'ratio', 'busy ratio', 'our memory', "Python's"]);
  for (const path of [jsonl, `${jsonl}.parquet`]) {
    for (const cores of [1, 2]) await compare(place, path, bytes, cores, Number(rounds));
  }
  console.log('\nOurs from JSONL on 2 cores');
  print('text, MB', ['seconds', 'MB/s', 'memory']);
  for (const one of sizes.split(',').filter(Boolean)) await grow(place, jsonl, Number(one));
}

const { values } = parseArgs({
  options: {
    python: { type: 'string' },
    megabytes: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '3' },
    sizes: { type: 'string', default: '16,64,256' },
    into: { type: 'string' },
    build: { type: 'string' },
    threads: { type: 'string', default: '1' },
  },
});
type Options = typeof values;
if (values.build !== undefined) await build(values.build, values.into!, Number(values.threads));
else {
  const python = values.python ?? process.env.DISCO_BENCH_PYTHON;
  if (python === undefined) {
    console.error(
      'Name a Python interpreter that has tokenizers, pyarrow and numpy: npm run bench:corpus -- --python PATH',
    );
    process.exit(2);
  }
  const folder = mkdtempSync(join(values.into ?? tmpdir(), 'bench-corpus-'));
  try {
    await main({ folder, python }, values);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The partition stage over token stores of three sizes: part of bench/cluster.ts. */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { TextTokenizer } from '../src/corpus/tokenizer.js';
import { TokenWriter } from '../src/formats/token-writer.js';
import { readClusters } from '../src/partition/report.js';
import { partitionCorpus } from '../src/partition/stage.js';
import { loadRecipe } from '../src/recipe/load.js';
import type { Progress } from '../src/run/context.js';
import { makeDone, writeDone } from '../src/run/done.js';
import { RunFolder } from '../src/run/folder.js';

const SIZES = [250_000, 500_000, 1_000_000];
const TOKENS = 200;
const DIMENSION = 256;
const SUBJECTS = 12;
const PHASES = ['token embeddings', 'document vectors', 'k-means', 'measures'] as const;

/** A generator of numbers that is fast enough for 200 million of them (xorshift32). */
function numbers(seed: number): () => number {
  let state = seed + 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Documents of 200 tokens, Zipf's law over the vocabulary, a third of them out of the words of a subject. */
async function writeCorpus(prefix: string, documents: number, vocabulary: number) {
  const writer = new TokenWriter(prefix, vocabulary);
  const next = numbers(1);
  const ids = new Int32Array(TOKENS);
  const ranks = Math.log(vocabulary - 1);
  for (let document = 0; document < documents; document++) {
    const subject = Math.floor(next() * SUBJECTS);
    for (let i = 0; i < TOKENS - 1; i++) {
      const rank = Math.floor(Math.exp(next() * ranks));
      const own = next() < 1 / 3;
      ids[i] = own ? 1 + ((rank * SUBJECTS + subject) % (vocabulary - 1)) : rank;
    }
    ids[TOKENS - 1] = 0;
    writer.add(ids);
  }
  return writer.finish();
}

/** Runs the whole stage over each size and prints a table. */
export async function partitionLargeCorpora(scale: number): Promise<void> {
  const recipeFile = fileURLToPath(new URL('../recipes/tiny.yaml', import.meta.url));
  const tokenizerFile = fileURLToPath(new URL('../data/tokenizer/bpe-4096.json', import.meta.url));
  const tokenizer = await TextTokenizer.load(tokenizerFile);
  const { recipe } = loadRecipe(recipeFile, [
    `corpus.tokenizer=${tokenizerFile}`,
    `partition.embedding.dimension=${DIMENSION}`,
    'partition.restarts=4',
    'partition.maxIterations=100',
    'model.config.num_experts=4',
  ]);
  console.log(
    `\nThe partition stage, documents of ${TOKENS} tokens, vectors of ${DIMENSION}, 4 clusters, seconds\n`,
  );
  console.log(
    `| documents | ${PHASES.join(' | ')} and reports | in all | per million documents | k-means iterations |`,
  );
  console.log(`|---:|${'---:|'.repeat(PHASES.length + 3)}`);
  for (const size of SIZES) {
    const documents = Math.round(size * scale);
    const folder = mkdtempSync(join(tmpdir(), 'bench-corpora-'));
    try {
      const run = RunFolder.create(join(folder, 'run'), stringify(recipe));
      const corpus = run.stage('corpus').own;
      mkdirSync(corpus, { recursive: true });
      copyFileSync(tokenizerFile, join(corpus, 'tokenizer.json'));
      const { files, tokens } = await writeCorpus(join(corpus, 'train'), documents, tokenizer.largestId + 1);
      const split = { documents, tokens, bytes: 0, empty: 0 };
      const summary = {
        splits: { train: split, validation: split, test: split },
        eos: tokenizer.eos,
        vocabulary: tokenizer.largestId + 1,
      };
      const hashes = { train: files[0].sha256, tokenizer: tokenizer.sha256 };
      writeDone(
        corpus,
        makeDone({ stage: 'corpus', reads: null, inputs: {} }, [], hashes, summary),
        () => {},
      );
      const began = performance.now();
      const starts = new Map<string, number>();
      let iterations = 0;
      await partitionCorpus({
        run,
        recipe,
        device: 'cpu',
        stop: { requested: false, reason: '' },
        reporter: {
          say: () => {},
          progress: ({ note = '' }: Progress) => {
            const phase = PHASES.find((name) => note.startsWith(name));
            if (phase !== undefined && !starts.has(phase)) starts.set(phase, performance.now());
            if (phase === 'k-means') iterations++;
          },
        },
      });
      const end = performance.now();
      const marks = [...PHASES.map((phase) => starts.get(phase) ?? end), end];
      const seconds = PHASES.map((_, i) => ((marks[i + 1]! - marks[i]!) / 1000).toFixed(1));
      const all = (end - began) / 1000;
      // Held to the stage's own result: a bench of a partition that came to nothing says nothing.
      const { clusters } = readClusters(run.stageFolder('partition'));
      if (clusters.length !== 4) throw new Error(`${clusters.length} clusters`);
      console.log(
        `| ${documents} | ${seconds.join(' | ')} | ${all.toFixed(1)} | ${((1e6 * all) / documents).toFixed(1)} | ${iterations} |`,
      );
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

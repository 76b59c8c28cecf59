/**
 * `npm run parity:evaluate`: lm-evaluation-harness and `evaluate --tasks` ask the same models the same questions,
 * from the same local files, and every log-likelihood, pick, score and standard error is compared. The models are two
 * runs of the tiny recipe, exported: one with the byte-level tokenizer of the package, one with a
 * SentencePiece-style one that is trained for it. The harness gets a Python of its own in the user's cache.
 *
 *   npm run parity:evaluate -- [Hugging Face folder ...] [--python PATH] [--limit N] [--tasks LIST]
 *
 * Folders take the place of the two models. `--python` takes an interpreter that has lm_eval, transformers and PyTorch
 * and installs nothing.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { exitWith, pythonWith, run } from './python-environment.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const REQUIREMENTS = ['lm_eval==0.4.13', 'torch==2.15.0', 'transformers==5.23.0', 'accelerate==1.15.0'];
/** What these take with all they need on Linux, where PyTorch's package brings CUDA along, and some air. */
const FREE_BYTES = 14e9;
/** All tasks and both samplers; two of MMLU's subjects, whose five examples do not fit the models, so that contexts are cut. */
const TASKS =
  'arc_easy:5,piqa:2,hellaswag:1,lambada_openai:2,wikitext:0,mmlu_anatomy:1,mmlu_virology:5,mmlu_world_religions:5';
const MAIN = join(ROOT, 'dist', 'cli', 'main.js');
const SCRIPT = join(ROOT, 'scripts', 'parity-evaluate.py');
const node = process.execPath;

/** Two short runs, exported. */
async function makeModels(temporary, python) {
  const pieces = join(temporary, 'sentencepiece.json');
  const text = join(ROOT, 'data', 'tiny', 'train.txt');
  await run('Tokenizer', python.command, [SCRIPT, 'tokenizer', text, pieces], python.env);
  const positions = 'model.config.max_position_embeddings=384';
  const ownEnds = [
    'model.config.bos_token_id=1',
    'model.config.eos_token_id=2',
    'model.config.vocab_size=704',
  ];
  const kinds = { 'byte-level': [], sentencepiece: [`corpus.tokenizer=${pieces}`, ...ownEnds] };
  const folders = [];
  for (const [kind, overrides] of Object.entries(kinds)) {
    const into = join(temporary, `run-${kind}`);
    await run(`Run, ${kind}`, node, [MAIN, 'run', 'tiny', positions, ...overrides, '--into', into]);
    const folder = join(temporary, kind);
    await run('Export', node, [MAIN, 'export', into, '--into', folder]);
    folders.push(folder);
  }
  return folders;
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      python: { type: 'string' },
      limit: { type: 'string', default: '20' },
      tasks: { type: 'string', default: TASKS },
    },
  });
  await run('Installation', node, [join(ROOT, 'scripts', 'bootstrap.mjs'), 'install']);
  await run('Set-up', node, [MAIN, 'setup']);
  const python = await pythonWith(values.python, {
    name: 'parity-evaluate',
    requirements: REQUIREMENTS,
    freeBytes: FREE_BYTES,
  });
  const temporary = mkdtempSync(join(tmpdir(), 'moe-disco-parity-evaluate-'));
  try {
    const folders =
      positionals.length > 0
        ? positionals.map((folder) => resolve(folder))
        : await makeModels(temporary, python);
    const data = join(temporary, 'data');
    const sets = [join(ROOT, 'data', 'eval'), join(ROOT, 'data', 'wikitext-2', 'test.txt.gz')];
    await run('Data', python.command, [SCRIPT, 'data', ...sets, data], python.env);
    const { tasks, limit } = values;
    for (const [i, folder] of folders.entries()) {
      const ours = join(temporary, `ours-${i}`);
      const theirs = join(temporary, `harness-${i}.json`);
      const asked = ['--tasks', tasks, '--limit', limit, '--data', data, '--into', ours];
      await run('Evaluation', node, [MAIN, 'evaluate', folder, ...asked]);
      const harness = [SCRIPT, 'harness', folder, data, tasks, limit, theirs];
      await run('Harness', python.command, harness, python.env);
      console.log(`${folder}:`);
      await run('Parity', python.command, [SCRIPT, 'compare', ours, theirs], python.env);
    }
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  exitWith(error);
}

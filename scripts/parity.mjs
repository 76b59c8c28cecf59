/**
 * `npm run parity`: transformers loads the Hugging Face folders that a run wrote, and its logits are compared
 * with ours; then the other way round with random models that transformers wrote. transformers and PyTorch's
 * Python are installed into a folder of their own in the user's cache.
 *
 *   npm run parity -- [RUN or Hugging Face folder] [--python PATH] [--random COUNT] [--seed N]
 *
 * Without a folder the tiny recipe is run into a temporary one. `--python` takes an interpreter that has
 * transformers and PyTorch and installs nothing.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { exitWith, pythonWith, run } from './python-environment.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const REQUIREMENTS = ['torch==2.15.0', 'transformers==5.23.0', 'safetensors==0.8.0'];
/** What these take with all they need on Linux, where PyTorch's package brings CUDA along, and some air. */
const FREE_BYTES = 12e9;
const script = (name) => join(ROOT, 'scripts', name);

/** Models of a run, or the one folder that was given. */
async function modelFolders(folder) {
  if (existsSync(join(folder, 'config.json'))) return [{ name: folder, folder }];
  const { RunFolder } = await import('../dist/run/folder.js');
  const opened = RunFolder.open(folder);
  const submodels = readdirSync(join(opened.root, 'submodels')).filter((name) => /^\d+$/.test(name));
  const stages = [
    ...submodels.sort((a, b) => a - b).map((k) => `submodels/${k}`),
    ...['merged', 'finetuned', 'baseline'],
  ];
  return stages.map((name) => ({ name, folder: opened.stageFolder(name) }));
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      python: { type: 'string' },
      random: { type: 'string', default: '14' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    },
  });
  const node = process.execPath;
  await run('Installation', node, [script('bootstrap.mjs'), 'install']);
  await run('Set-up', node, [join(ROOT, 'dist', 'cli', 'main.js'), 'setup']);
  const { command, env } = await pythonWith(values.python, {
    name: 'parity',
    requirements: REQUIREMENTS,
    freeBytes: FREE_BYTES,
  });
  const temporary = mkdtempSync(join(tmpdir(), 'moe-disco-parity-'));
  try {
    let folder = positionals[0] && resolve(positionals[0]);
    if (folder === undefined) {
      folder = join(temporary, 'run');
      await run('The tiny recipe', node, [
        join(ROOT, 'dist', 'cli', 'main.js'),
        'run',
        'tiny',
        '--into',
        folder,
      ]);
    }
    const drawn = join(temporary, 'random');
    await run(
      'Random models',
      command,
      [script('parity.py'), 'draw', drawn, values.seed, values.random, join(ROOT, 'data', 'remote-code')],
      env,
    );
    const models = [
      ...(await modelFolders(folder)),
      ...readdirSync(drawn)
        .sort()
        .map((name) => ({
          name: `random ${name}`,
          folder: join(drawn, name),
          written: join(temporary, 'written', name),
        })),
    ];
    const list = join(temporary, 'models.json');
    writeFileSync(list, JSON.stringify(models));
    const logits = join(temporary, 'logits.safetensors');
    const tsx = join(ROOT, 'node_modules', 'tsx', 'dist', 'cli.mjs');
    await run('Our logits', node, [tsx, script('logits.ts'), list, logits]);
    await run('Parity', command, [script('parity.py'), 'compare', list, logits], env);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  exitWith(error);
}

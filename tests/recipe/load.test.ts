import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type DiscoError, RequestError } from '../../src/errors.js';
import { checkRecipe } from '../../src/recipe/check.js';
import { recipeDocs } from '../../src/recipe/docs.js';
import { closest, editDistance } from '../../src/recipe/faults.js';
import { loadRecipe, resolveRecipe, toYaml } from '../../src/recipe/load.js';
import { parseOverride, withOverride } from '../../src/recipe/overrides.js';

const root = new URL('../..', import.meta.url).pathname;
const tiny = join(root, 'recipes/tiny.yaml');
const folder = mkdtempSync(join(tmpdir(), 'disco-recipe-'));

function write(name: string, text: string | Uint8Array): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

function refused(run: () => unknown): DiscoError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(RequestError);
    return error as DiscoError;
  }
  throw new Error('nothing was refused');
}

/** The tiny recipe with one text replaced, paths still those of recipes/. */
function edited(from: string, to: string): string {
  const text = readFileSync(tiny, 'utf8').replaceAll('../data', join(root, 'data'));
  expect(text).toContain(from);
  return write('edited.yaml', text.replace(from, to));
}

describe('shipped recipes', () => {
  for (const name of readdirSync(join(root, 'recipes'))) {
    it(`${name} is a recipe, without a warning that it could avoid`, () => {
      const loaded = loadRecipe(join(root, 'recipes', name), [], { files: 'report' });
      const paper = name.startsWith('paper-');
      expect(loaded.warnings.map((text) => text.slice(0, 40))).toEqual(
        paper ? ['train.precision is bfloat16 throughout an'].map((text) => text.slice(0, 40)) : [],
      );
      if (!paper) expect(loaded.source.missing).toEqual([]);
      expect(name).toBe(`${loaded.recipe.name}.yaml`);
    });
  }

  it('have a comment or a commented parent for every key of tiny.yaml', () => {
    const bare = readFileSync(tiny, 'utf8')
      .split('\n')
      .filter((line) => /^[a-zA-Z]+: \S/.test(line) && !line.includes('#'));
    expect(bare).toEqual([]);
  });

  it('the paper recipes hold Tables 1, 4, 5 and 6', () => {
    const qwen = { num_experts: 4, num_experts_per_tok: 4, hidden_size: 2048 };
    const llama = { num_experts: 4, num_selects: 4, score_scale_factor: 1, hidden_size: 4096 };
    const rows = {
      'qwen-c4': [4200, 4100, 21150, qwen],
      'qwen-c4-random': [4200, 4100, 21150, qwen],
      'qwen-wikitext2': [4330, 3150, 12500, qwen],
      'qwen-openwebtext': [5922, 6650, 28600, qwen],
      'llama-c4': [4810, 4150, 11750, llama],
      'llama-c4-e2': [4810, 4150, 11750, { ...llama, num_experts: 2, num_selects: 2 }],
      'llama-wikitext2': [5136, 5300, 15000, llama],
      'llama-openwebtext': [4355, 7800, 21000, llama],
    } as const;
    for (const [key, [submodel, finetune, baseline, config]] of Object.entries(rows)) {
      const { recipe } = loadRecipe(join(root, `recipes/paper-${key}.yaml`), [], { files: 'ignore' });
      expect(recipe.name).toBe(`paper-${key}`);
      const { faults, warnings } = checkRecipe(recipe);
      expect([faults, warnings.map((text) => text.split(' ')[0])], key).toEqual([[], ['train.precision']]);
      const { train, model, merge, corpus } = recipe;
      expect([train.submodels.steps, train.finetune.steps, train.baseline.steps]).toEqual([
        submodel,
        finetune,
        baseline,
      ]);
      expect(train.submodels).toMatchObject({ learningRate: 1e-4, schedule: 'constant' });
      const tableFive = { learningRate: 3e-4, weightDecay: 0.01, warmupRatio: 0.03, schedule: 'cosine' };
      expect(train.finetune).toMatchObject(tableFive);
      expect(train.baseline).toMatchObject(tableFive);
      expect([train.batchSize, corpus.sequenceLength, train.precision.moments]).toEqual([
        16,
        1024,
        'bfloat16',
      ]);
      expect(model.config).toMatchObject(config);
      expect(recipe.partition.method).toBe(key.endsWith('random') ? 'random' : 'kmeans');
      expect([merge.gamma, corpus.batch, corpus.unit]).toEqual(['uniform', 'padded', 'row']);
    }
  });
});

describe('resolution', () => {
  it('fills defaults and makes paths absolute', () => {
    const { recipe } = loadRecipe(tiny);
    expect(recipe.corpus.tokenizer).toBe(join(root, 'data/tokenizer/bpe-4096.json'));
    expect(recipe.corpus.train.textField).toBe('text');
  });

  it('writes YAML that loads back to the same recipe and to the same text', () => {
    const { recipe } = loadRecipe(tiny, ['train.adam.epsilon=1e-10', 'cost.machineDollarsPerHour=0.3']);
    const file = write('resolved.yaml', toYaml(recipe));
    const again = loadRecipe(file).recipe;
    expect(again).toEqual(recipe);
    expect(toYaml(again)).toBe(toYaml(recipe));
  });

  it('reads model.config from a file, and overrides go into it', () => {
    const { recipe } = loadRecipe(tiny);
    write('config.json', JSON.stringify({ ...recipe.model.config, num_hidden_layers: 7 }));
    const file = write(
      'from-file.yaml',
      toYaml(recipe).replace(/^model:\n(?: .*\n)+/m, 'model:\n  config: config.json\n'),
    );
    expect(loadRecipe(file).recipe.model.config.num_hidden_layers).toBe(7);
    const changed = loadRecipe(file, ['model.config.num_hidden_layers=3']).recipe.model.config;
    expect(changed).toEqual({ ...recipe.model.config, num_hidden_layers: 3 });
    write('config.json', '{"num_experts": ');
    expect(refused(() => loadRecipe(file)).key).toBe('model.config');
  });

  it('takes plain data from library callers', () => {
    const { recipe } = loadRecipe(tiny);
    expect(resolveRecipe(recipe)).toEqual(recipe);
    expect(refused(() => resolveRecipe({ ...recipe, extra: 1 })).key).toBe('extra');
  });
});

describe('faults', () => {
  it('names line, key and suggestion of an unknown key, and does not report the key it stands for as missing', () => {
    const error = refused(() => loadRecipe(edited('  batchSize:', '  batchSise:')));
    expect(error.key).toBe('train.batchSise');
    expect(error.hint).toBe('did you mean train.batchSize?');
    expect(error.file).toMatch(/edited\.yaml:\d+:3$/);
    expect(error.exitStatus).toBe(2);
  });

  it('says where a key belongs that stands in the wrong place', () => {
    const error = refused(() => loadRecipe(edited('seed: 0', 'learningRate: 0')));
    expect(error.hint).toContain('train.submodels.learningRate');
  });

  it('names what was expected and found of a wrong type', () => {
    const error = refused(() => loadRecipe(tiny, ['train.batchSize=many']));
    expect([error.key, error.expected, error.found]).toEqual([
      'train.batchSize',
      'a whole number above 0',
      '"many"',
    ]);
  });

  it('reports all faults at once', () => {
    const error = refused(() =>
      loadRecipe(edited('seed: 0', 'sead: 0'), [
        'train.clipNorm=-1',
        'merge.gamma=sampels',
        'corpus.tokenizer=none.json',
      ]),
    );
    expect(error.message).toContain('4 faults');
    for (const text of ['sead: unknown key', 'clipNorm', 'did you mean samples?', 'none.json']) {
      expect(error.message).toContain(text);
    }
  });

  const cross: [string, string[], string][] = [
    ['E = 1', ['model.config.num_experts=1'], 'model.config.num_experts'],
    ['top-k > E', ['model.config.num_experts_per_tok=3'], 'model.config.num_experts_per_tok'],
    ['gamma of another length', ['merge.gamma=[1,0,0]'], 'merge.gamma'],
    ['gamma that does not sum to 1', ['merge.gamma=[1,1]'], 'merge.gamma'],
    ['gamma that nearly sums to 1', ['merge.gamma=[0.3333333,0.6666666]'], 'merge.gamma'],
    ['gamma of E where one is trained', ['partition.method=whole', 'merge.gamma=[1,0]'], 'merge.gamma'],
    ['a lambdaEta of 1', ['merge.gamma=wpsgd', 'merge.lambdaEta=1'], 'merge.lambdaEta'],
    ['steps and epochs', ['train.submodels.epochs=1'], 'train.submodels.steps'],
    ['neither steps nor epochs', ['train.submodels.steps=null'], 'train.submodels.steps'],
    ['a hidden size of no whole heads', ['model.config.hidden_size=34'], 'model.config.hidden_size'],
    ['key and value heads', ['model.config.num_key_value_heads=3'], 'model.config.num_key_value_heads'],
    ['rows beyond the positions', ['corpus.sequenceLength=129'], 'corpus.sequenceLength'],
    ['micro-batches', ['train.microBatch=3'], 'train.microBatch'],
    ['mixed precision', ['train.precision.compute=bfloat16'], 'train.precision'],
    ['an embedding folder without a source', ['partition.embedding.folder=.'], 'partition.embedding.folder'],
    ['a source without a folder', ['partition.embedding.source=folder'], 'partition.embedding.folder'],
    ['a vocabulary below the tokenizer', ['model.config.vocab_size=4095'], 'model.config.vocab_size'],
    ['lambdaEta without wpsgd', ['merge.lambdaEta=0.1'], 'merge.lambdaEta'],
    ['no validation', ['corpus.validation=null', 'corpus.holdout.validation=0'], 'corpus.holdout.validation'],
  ];
  it.each(cross)('refuses %s', (_, overrides, key) => {
    const error = refused(() => loadRecipe(tiny, overrides));
    expect(error.key ?? error.message).toContain(key);
  });

  it('refuses an embedding table without its own tokenizer', () => {
    const overrides = [
      'partition.embedding.source=folder',
      `partition.embedding.folder=${join(root, 'recipes')}`,
    ];
    expect(refused(() => loadRecipe(tiny, overrides)).expected).toContain('tokenizer.json');
  });

  it('warns where the selected weights do not sum to 1 or the router has no gradient', () => {
    const warnings = (...overrides: string[]) => loadRecipe(tiny, overrides).warnings;
    expect(warnings('model.config.norm_topk_prob=true')[0]).toContain('without a gradient');
    expect(warnings('model.config.num_experts=4', 'model.config.num_experts_per_tok=2')[0]).toContain(
      'less than 1',
    );
    expect(warnings('model.config.num_experts_per_tok=2')[0]).toContain('no gradient');
    expect(warnings('model.config.output_router_logits=false')[0]).toContain('unused');
    expect(warnings('train.finetune.learningRate=0.1')[0]).toContain('differs');
  });

  it('refuses what is no recipe at all', () => {
    expect(refused(() => loadRecipe(join(folder, 'none.yaml'))).message).toContain('no such recipe');
    expect(refused(() => loadRecipe(folder)).message).toContain('not a folder');
    expect(refused(() => loadRecipe(write('a.yaml', new Uint8Array([0xff, 0xfe])))).message).toContain(
      'UTF-8',
    );
    expect(refused(() => loadRecipe(write('b.yaml', ''))).message).toContain('mapping');
    expect(refused(() => loadRecipe(write('c.yaml', 'a: [1\nb: 2'))).message).toContain('line 2');
    expect(refused(() => loadRecipe(edited('format: 1', 'format: 2'))).hint).toContain('newer version');
    expect(refused(() => loadRecipe(edited('seed: 0', 'seed: 0\nseed: 1'))).message).toMatch(
      /line \d+, column 1/,
    );
  });

  it('does not look for files when told so', () => {
    const overrides = ['corpus.tokenizer=/nowhere/tokenizer.json'];
    expect(loadRecipe(tiny, overrides, { files: 'ignore' }).recipe.corpus.tokenizer).toBe(
      '/nowhere/tokenizer.json',
    );
    expect(loadRecipe(tiny, overrides, { files: 'report' }).source.missing).toHaveLength(1);
    expect(refused(() => loadRecipe(tiny, overrides)).found).toBe('/nowhere/tokenizer.json');
  });
});

describe('overrides', () => {
  it('read scalars and flow values', () => {
    const value = (text: string) => parseOverride(text).value;
    expect(value('seed=3')).toBe(3);
    expect(value('train.finetune.learningRate=3e-4')).toBe(3e-4);
    expect(value('corpus.test=null')).toBeNull();
    expect(value('merge.gamma=[1,0,0,0]')).toEqual([1, 0, 0, 0]);
    expect(value('cost.cheapCard.name=a=b')).toBe('a=b');
  });

  it('refuse unknown keys with a suggestion, and shapes that cannot be', () => {
    expect(refused(() => parseOverride('train.batchsize=3')).hint).toBe('did you mean train.batchSize?');
    expect(refused(() => parseOverride('model.config.__proto__.x=3')).key).toContain('__proto__');
    expect(refused(() => parseOverride('seed')).expected).toBe('key.path=value');
    expect(refused(() => parseOverride('seed=[1')).key).toBe('seed');
    expect(refused(() => loadRecipe(tiny, ['execution.devices.5=cpu'])).message).toContain('end of a list');
  });

  it('do not change what they are applied to', () => {
    const data = { a: { b: [1, 2] } };
    expect(withOverride(data, { path: ['a', 'b', '1'], value: 9 })).toEqual({ a: { b: [1, 9] } });
    expect(data).toEqual({ a: { b: [1, 2] } });
  });
});

it('edit distance and the closest word', () => {
  expect(editDistance('kitten', 'sitting')).toBe(3);
  expect(editDistance('ab', 'ba')).toBe(1);
  expect(closest('gama', ['gamma', 'average'])).toBe('gamma');
  expect(closest('xyz', ['gamma', 'average'])).toBeNull();
});

it('docs/recipe.md is what the schema says (npx tsx scripts/recipe-docs.ts)', () => {
  expect(readFileSync(join(root, 'docs/recipe.md'), 'utf8')).toBe(recipeDocs());
});

/**
 * The model folder that training starts from: opened, and compared with what the recipe wants, by its config.json,
 * the headers of its weights and its tokenizer alone. No tensor is read here and libtorch is not needed.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DataError, RequestError } from '../errors.js';
import { tokenizerPath, type Weights } from '../formats/hf-folder.js';
import type { ModelConfig } from '../model/config.js';
import { allParameters, openModelFolder } from '../model/model-folder.js';
import type { Recipe } from '../recipe/schema.js';
import { readReference } from '../run/refers.js';
import { fromDense, fromFolder, type Origins } from './origins.js';
import { tokenizerDifference } from './tokenizers.js';

/** An opened source. Close it when done. */
export interface InitSource {
  /** Where the files lie: another run's stage may refer to a third one's. */
  folder: string;
  config: ModelConfig;
  weights: Weights;
  /** What the recipe's author should know, in sentences. */
  warnings: string[];
  close(): void;
}

/** What has no part in what a model computes of a text: training only, or the text itself. */
const WITHOUT_EFFECT: readonly (keyof ModelConfig)[] = [
  'initializerRange',
  'outputRouterLogits',
  'routerAuxLossCoef',
  'gateAddNoise',
  'gateNoiseEpsilon',
  'maxPositionEmbeddings',
  'padTokenId',
  'bosTokenId',
  'eosTokenId',
];

/** What a model and the dense one that it is made of may differ in. */
const OF_EXPERTS: readonly (keyof ModelConfig)[] = [
  'modelType',
  'intermediateSize',
  'moeIntermediateSize',
  'sharedExpertIntermediateSize',
  'numExperts',
  'numExpertsPerTok',
  'router',
  'normTopkProb',
  'scoreScaleFactor',
  'mlpOnlyLayers',
  'decoderSparseStep',
];

/** Path of the folder that the recipe starts from. Throws RequestError where it names none or one that is not there. */
export function sourceFolder({ init }: Pick<Recipe, 'init'>): string {
  if (init.folder === null || !existsSync(init.folder)) {
    throw new RequestError('The folder to start from is not there.', {
      key: 'init.folder',
      expected: 'a Hugging Face folder',
      found: init.folder ?? 'nothing',
    });
  }
  const refers = existsSync(join(init.folder, 'config.json')) ? null : readReference(init.folder);
  return refers?.folder ?? init.folder;
}

/**
 * Opens the folder that the recipe starts from and compares it with the recipe's model.
 *
 * @param target the recipe's model
 * @throws DataError, RequestError where the folder is damaged or cannot be made into this model, and, unless
 * init.allowChange, where the model would not compute what the folder does; each names the key
 */
export function openSource(recipe: Recipe, target: ModelConfig): InitSource {
  const folder = sourceFolder(recipe);
  const file = join(folder, 'config.json');
  const { config, weights } = openModelFolder(folder);
  const close = (): void => weights.close();
  try {
    const warnings = [
      ...(recipe.init.from === 'dense' ? compareDense : compareFolder)(recipe, config, target, file),
      ...compareTokenizers(recipe, folder),
    ];
    return { folder, config, weights, warnings, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Looks at the folder that a recipe starts from, if it does from one, as {@link openSource}; returns the warnings. */
export function checkSource(recipe: Recipe, target: ModelConfig): string[] {
  if (recipe.init.from === 'scratch') return [];
  const { warnings, close } = openSource(recipe, target);
  close();
  return warnings;
}

/** Where the tensors of the recipe's model come from. `chosen` as in {@link fromFolder}. */
export function originsOf(
  { init }: Recipe,
  source: ModelConfig,
  target: ModelConfig,
  chosen: (layer: number) => readonly number[],
): Origins {
  return init.from === 'dense' ? fromDense(source, target, init.neurons) : fromFolder(source, chosen);
}

/** The numbers of the folder's experts that a recipe takes in every layer, where that needs no counting. */
export function fixedChoice({ init }: Recipe, target: ModelConfig): readonly number[] {
  return Array.isArray(init.experts) ? init.experts : Array.from({ length: target.numExperts }, (_, k) => k);
}

/** One thing in which the recipe's model and the folder's differ. */
interface Change {
  /** As in config.json. */
  key: string;
  recipe: string;
  folder: string;
}

function compareFolder(recipe: Recipe, source: ModelConfig, target: ModelConfig, file: string): string[] {
  if (source.modelType !== target.modelType) {
    throw new DataError('The folder holds a model of another family.', {
      file,
      key: 'model_type',
      expected: target.modelType,
      found: source.modelType,
      ...(source.router === 'none' ? { hint: 'init.from: dense makes experts of a dense model' } : {}),
    });
  }
  if (source.numExperts < target.numExperts) {
    throw new DataError('The folder has fewer experts than the recipe wants.', {
      file,
      key: 'num_experts',
      expected: `at least ${target.numExperts}`,
      found: String(source.numExperts),
    });
  }
  const choice = fixedChoice(recipe, target);
  const beyond = choice.find((expert) => expert >= source.numExperts);
  if (beyond !== undefined) {
    throw new RequestError('The folder has no expert of this number.', {
      key: 'init.experts',
      expected: `0 to ${source.numExperts - 1}`,
      found: String(beyond),
    });
  }
  const fewer = source.numExperts > target.numExperts;
  const changes = differences(source, target, fewer ? ['numExperts', 'numExpertsPerTok'] : []);
  requireOrigins(
    target,
    fromFolder(source, () => choice),
    changes,
    file,
  );
  if (fewer && target.router === 'noisy') {
    // Its second layer reads as many inner units as there are experts: those of the others are gone.
    changes.push({
      key: 'inner units of the gate',
      recipe: show(target.numExperts),
      folder: show(source.numExperts),
    });
  }
  const left = `The model starts with ${target.numExperts} of the ${source.numExperts} experts of each layer of ${recipe.init.folder}.`;
  return [...allowed(recipe, changes, file), ...(fewer ? [left] : [])];
}

function compareDense(recipe: Recipe, source: ModelConfig, target: ModelConfig, file: string): string[] {
  if (source.router !== 'none') {
    throw new DataError('The folder holds no dense model.', {
      file,
      key: 'model_type',
      expected: 'a dense family, such as qwen2 or llama',
      found: source.modelType,
      hint: 'init.from: folder takes the experts of a model that has some',
    });
  }
  const { numExperts, numExpertsPerTok, moeIntermediateSize: width } = target;
  if (width > source.moeIntermediateSize) {
    throw new RequestError(
      'The experts are wider than the feed-forward part that they are to be copies of.',
      {
        key: 'model.config.moe_intermediate_size',
        expected: `at most ${source.moeIntermediateSize}, intermediate_size of ${file}`,
        found: String(width),
      },
    );
  }
  const changes = differences(source, target, OF_EXPERTS);
  requireOrigins(target, fromDense(source, target, recipe.init.neurons), changes, file);
  const sumIsOne = target.normTopkProb || target.router === 'noisy' || numExpertsPerTok === numExperts;
  if (!sumIsOne) {
    const found = `false with top-${numExpertsPerTok} of ${numExperts}: weights that sum to less than 1`;
    changes.push({ key: 'norm_topk_prob', recipe: found, folder: 'a sum of 1' });
  }
  if (target.scoreScaleFactor !== 1) {
    changes.push({ key: 'score_scale_factor', recipe: show(target.scoreScaleFactor), folder: '1' });
  }
  const cut =
    `An expert takes ${width} of the ${source.moeIntermediateSize} neurons of ${recipe.init.folder}: the model does not ` +
    'begin by computing what that does.';
  return [...allowed(recipe, changes, file), ...(width < source.moeIntermediateSize ? [cut] : [])];
}

const show = (value: unknown): string => JSON.stringify(value) ?? 'nothing';

/** Configuration keys in which two models differ and that tell in what they compute; `free` ones may. */
function differences(
  source: ModelConfig,
  target: ModelConfig,
  free: readonly (keyof ModelConfig)[],
): Change[] {
  const keys = [...new Set([...Object.keys(source), ...Object.keys(target)])] as (keyof ModelConfig)[];
  return keys.flatMap((property) => {
    if (free.includes(property) || WITHOUT_EFFECT.includes(property)) return [];
    const [there, here] = [show(source[property]), show(target[property])];
    // A head of its own begins as a copy of the folder's embedding.
    const untied = property === 'tieWordEmbeddings' && source.tieWordEmbeddings;
    if (there === here || untied) return [];
    const key = property.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    return [{ key, recipe: here, folder: there }];
  });
}

/** Throws DataError where a tensor of the recipe's model has no origin, naming what the configurations differ in. */
function requireOrigins(
  target: ModelConfig,
  origins: Origins,
  changes: readonly Change[],
  file: string,
): void {
  // Tied, one table serves as both, and a head of the folder's own would be lost.
  const lost = changes.find(({ key }) => key === 'tie_word_embeddings');
  const missing = lost ?? allParameters(target).find((parameter) => origins(parameter) === null);
  if (missing === undefined) return;
  const [first] = changes;
  throw new DataError(
    ["The folder's tensors do not fit the recipe's model:", ...changes.map(line)].join('\n'),
    first === undefined
      ? { file, key: 'name' in missing ? missing.name : missing.key }
      : { file, key: first.key, expected: `${first.recipe}, as in model.config`, found: first.folder },
  );
}

const line = ({ key, recipe, folder }: Change): string =>
  `  ${key}: ${recipe} in the recipe, ${folder} in the folder`;

/** What the model computes differently from the folder's: refused, or a warning where the recipe allows it. */
function allowed({ init }: Recipe, changes: readonly Change[], file: string): string[] {
  const [first] = changes;
  if (first === undefined) return [];
  const lines = changes.map(line).join('\n');
  if (init.allowChange) return [`The model does not begin by computing what ${init.folder} does:\n${lines}`];
  throw new DataError(`The recipe's model would not compute what the folder's does:\n${lines}`, {
    file,
    key: first.key,
    expected: `${first.recipe}, as in model.config`,
    found: first.folder,
    hint: 'edit model.config, or set init.allowChange: true',
  });
}

/** The rows of the folder's tables belong to the tokens of its tokenizer: the corpus must be read with the same. */
function compareTokenizers({ init, corpus }: Recipe, folder: string): string[] {
  const own = tokenizerPath(folder);
  if (own === null) {
    return [
      `${init.folder} has no tokenizer.json: nobody checks that corpus.tokenizer is that of its model.`,
    ];
  }
  // A run that was carried to another machine needs the tokenizer of its recipe no more.
  const difference = existsSync(corpus.tokenizer) ? tokenizerDifference(own, corpus.tokenizer) : null;
  if (difference === null) return [];
  const id = (value: number | undefined): string => (value === undefined ? 'no such token' : `id ${value}`);
  const token = JSON.stringify(difference.token);
  if (init.allowChange) return [`corpus.tokenizer is not that of ${init.folder}: they differ in ${token}.`];
  throw new RequestError("The tokenizer is not that of the folder's model, whose tables it would misread.", {
    key: 'corpus.tokenizer',
    expected: `${id(difference.first)} for ${token}, as in ${own}`,
    found: id(difference.second),
    hint: `corpus.tokenizer: ${own}, or init.allowChange: true`,
  });
}

/** What a recipe will do, before anything is read or allocated: sizes, memory, disk and the projected bill. */
import { statSync } from 'node:fs';
import { type ModelConfig, parseModelConfig, submodelConfig } from '../model/config.js';
import { hasSeedPhase, submodelCount } from '../recipe/check.js';
import type { Recipe, Source } from '../recipe/schema.js';
import { filesHere } from '../recipe/source-files.js';
import { estimateMemory, type MemoryEstimate } from './memory.js';
import { type ParameterParts, parameterParts } from './parameters.js';
import { type Projection, project } from './projection.js';

export interface Plan {
  name: string;
  config: ModelConfig;
  whole: ParameterParts;
  submodel: ParameterParts;
  tokensPerStep: number;
  steps: {
    /** Null where the length is given in epochs: it depends on the clusters. */
    submodel: number | null;
    finetune: number;
    baseline: number;
    /** 0 where there is no seed phase. */
    seed: number;
  };
  /** Memory of one training on one device, as the recipe runs it. */
  memory: { whole: MemoryEstimate; submodel: MemoryEstimate };
  /** Bytes that the run folder grows to: token store, weights, and the checkpoints of what is being trained. */
  diskBytes: number;
  /** Null where the length of the S-phase is not known yet. */
  projection: Projection | null;
}

const sizeOf = (dtype: 'float32' | 'bfloat16') => (dtype === 'float32' ? 4 : 2);

/**
 * Bytes of text of a source; a compressed file is taken to hold three times its size. What is missing, or lies on the
 * Hub, counts 0.
 */
function textBytes(source: Source | null): number {
  if (source === null) return 0;
  return filesHere(source).reduce((sum, path) => {
    const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    return sum + bytes * (/\.(gz|zst|parquet)$/.test(path) ? 3 : 1);
  }, 0);
}

/**
 * Plans a resolved recipe.
 * @throws DataError when `model.config` has a field that the model cannot honour
 */
export function planRecipe(recipe: Recipe): Plan {
  const { train, corpus } = recipe;
  const config = parseModelConfig(recipe.model.config, `${recipe.name}: model.config`);
  const single = submodelConfig(config);
  const whole = parameterParts(config);
  const submodel = parameterParts(single);
  const memory = (model: ModelConfig) =>
    estimateMemory(model, {
      precision: train.precision,
      backward: recipe.execution.backward,
      optimizerInBackward: false,
      microBatch: train.microBatch ?? train.batchSize,
      sequenceLength: corpus.sequenceLength,
    });
  const weights = sizeOf(train.precision.weights);
  const state = weights + 2 * sizeOf(train.precision.moments) + (train.precision.master === 'none' ? 0 : 4);
  const submodels = submodelCount(recipe) * submodel.total;
  // Checkpoints go when a training ends: at most those of one whole model, or of the submodels trained at once.
  const atOnce = Math.min(recipe.execution.devices.length, submodelCount(recipe)) * submodel.total;
  const seeded = train.seed.model === 'whole' ? whole.total : submodel.total;
  const started = (recipe.init.from === 'scratch' ? 0 : whole.total) + (hasSeedPhase(recipe) ? seeded : 0);
  const text = textBytes(corpus.train) + textBytes(corpus.validation) + textBytes(corpus.test);
  // About four bytes of text a token, two or four bytes an id.
  const tokenBytes = (text / 4) * (config.vocabSize <= 65_536 ? 2 : 4);
  const { steps } = train.submodels;
  return {
    name: recipe.name,
    config,
    whole,
    submodel,
    tokensPerStep: train.batchSize * corpus.sequenceLength,
    steps: {
      submodel: steps,
      finetune: train.finetune.steps,
      baseline: train.baseline.steps,
      seed: train.seed.steps,
    },
    memory: { whole: memory(config), submodel: memory(single) },
    // Weights: init and seed where they hold any, the submodels, merged, fine-tuned, baseline. Two checkpoints are
    // kept while a third is written.
    diskBytes: Math.ceil(
      tokenBytes +
        (started + submodels + 3 * whole.total) * weights +
        3 * Math.max(whole.total, atOnce) * state,
    ),
    projection:
      steps === null
        ? null
        : project(
            {
              config,
              precision: train.precision,
              batchSize: train.batchSize,
              sequenceLength: corpus.sequenceLength,
              ...(hasSeedPhase(recipe) ? { seed: train.seed } : {}),
              submodelSteps: Array.from({ length: submodelCount(recipe) }, () => steps),
              finetuneSteps: train.finetune.steps,
              baselineSteps: train.baseline.steps,
            },
            recipe.cost.cheapCard,
            recipe.cost.largeCard,
          ),
  };
}

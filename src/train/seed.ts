/** The seed phase: a training on all data before the split, whose result is what every submodel starts from. */
import { RequestError } from '../errors.js';
import { hashJson } from '../formats/hash.js';
import { type ModelConfig, submodelConfig, toHuggingFaceConfig } from '../model/config.js';
import type { ParameterStore } from '../model/store.js';
import { fingerprint } from '../model/store-files.js';
import { hasSeedPhase } from '../recipe/check.js';
import type { StageRun } from '../run/context.js';
import { type Done, hashOf } from '../run/done.js';
import { requireDone } from '../run/require.js';
import type { StageContext } from '../run/stage.js';
import { partsOf, writeParts } from '../split/parts.js';
import { dtypeOf, modelConfigOf } from '../split/stage.js';
import { openInit } from '../split/start.js';
import { corpusInputs, fillAndClose, trainStage, type Written, writeModel } from './phase.js';

/**
 * Trains the whole model, or one submodel, on all data.
 *
 * @throws RequestError where the recipe has no such phase, and where corpus or init are missing
 */
export async function trainSeed(context: StageRun): Promise<Done> {
  const { run, recipe } = context;
  if (!hasSeedPhase(recipe)) {
    throw new RequestError('This run has no seed phase.', {
      key: 'train.seed.steps',
      expected: 'at least 1',
      found: '0',
    });
  }
  const config = modelConfigOf(recipe, run);
  const init = requireDone(run, 'init');
  const shared = {
    stage: 'seed',
    command: `moe-disco seed ${run.root}`,
    key: 'seed',
    documents: null,
    steps: () => recipe.train.seed.steps,
    heldOut: true,
  } as const;
  if (recipe.train.seed.model === 'whole') {
    return trainStage(context, {
      ...shared,
      config,
      inputs: { ...corpusInputs(context), ...init.hashes },
      initialise: (store) => fillAndClose(openInit(context), store),
      write: (store, stage) => writeWholeSeed(context, config, store, stage),
    });
  }
  const router = hashOf(init, 'router');
  const single = submodelConfig(config);
  return trainStage(context, {
    ...shared,
    config: single,
    inputs: {
      ...corpusInputs(context),
      router,
      shared: hashOf(init, 'shared'),
      'expert/0': hashOf(init, 'expert/0'),
    },
    initialise: (store) => fillAndClose(openInit(context, 0), store, 0),
    write: async (store, stage) => {
      const written = await writeModel(context, single, store, stage);
      const expert = fingerprint(store, 'expert', 0);
      const parts = partsOf(config).map(({ name, role }) => [name, role === 'router' ? router : expert]);
      const all = { ...Object.fromEntries(parts), shared: fingerprint(store, 'backbone') };
      return { files: written.files, hashes: { ...written.hashes, ...all } };
    },
  });
}

/** The whole model part by part, as the workers of the S-phase read it. */
async function writeWholeSeed(
  { run, recipe }: StageRun,
  config: ModelConfig,
  store: ParameterStore,
  stage: StageContext,
): Promise<Written> {
  const dtype = dtypeOf(recipe);
  const { files, fingerprints } = await writeParts(stage.folder, {
    config,
    json: toHuggingFaceConfig(config, dtype),
    dtype,
    tensor: ({ name }) => store.parameter(name),
    tokenizer: run.stage('corpus').path('tokenizer.json'),
    check: stage.assertOwned,
  });
  return { files, hashes: { weights: hashJson(fingerprints), ...fingerprints } };
}

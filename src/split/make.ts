/** Initial weights made of a folder's: tensor by tensor, each written as soon as it is made. */
import { BatchSource, rowOptions } from '../corpus/batches.js';
import { endTokenOf, openSplit } from '../corpus/stage.js';
import { StoppedError } from '../errors.js';
import { writeJson } from '../formats/atomic.js';
import type { TokenRows } from '../model/batch.js';
import type { ModelConfig } from '../model/config.js';
import { initialTensor } from '../model/initial-weights.js';
import { countParameters } from '../model/parameters.js';
import { dtypeOfSafetensors } from '../model/store-files.js';
import type { StageRun } from '../run/context.js';
import { requireDone } from '../run/require.js';
import type { StageContext, StageResult } from '../run/stage.js';
import type { DType, Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { IDENTITY_FILE, identityHash, type SourceIdentity } from './identity.js';
import type { Origin } from './origins.js';
import { writeParts } from './parts.js';
import { fixedChoice, type InitSource, openSource, originsOf } from './source.js';
import { countUsage, type LayerUsage, mostUsed } from './usage.js';

/** Tokens of the sample that are computed at once. */
const PIECE_TOKENS = 4096;

/** The model to be made. */
interface Wanted {
  config: ModelConfig;
  dtype: DType;
  /** Its config.json. */
  json: Record<string, unknown>;
  identity: SourceIdentity;
}

/** Which experts of a folder's were taken, and why: content of init/experts.json. */
interface Choice {
  format: 1;
  experts: 'first' | 'mostUsed' | number[];
  /** The text on which their use was counted. */
  sample: { split: 'train'; tokens: number; rows: number; sequenceLength: number; seed: number } | null;
  layers: (Partial<LayerUsage> & { layer: number; chosen: readonly number[] })[];
}

/** Writes init/ for a recipe that starts from a folder. */
export async function makeInitialWeights(
  context: StageRun,
  stage: StageContext,
  { config, dtype, json, identity }: Wanted,
): Promise<StageResult> {
  const { recipe, reporter, stop } = context;
  const { seed, init } = recipe;
  const stopIfAsked = (): void => {
    if (!stop.requested) return;
    throw new StoppedError(`init: stopped (${stop.reason}). This stage begins anew.`, {
      hint: 'run the same command again',
    });
  };
  const source = openSource(recipe, config);
  try {
    for (const warning of source.warnings) reporter.say(`Warning: ${warning}`);
    const choice = await chooseExperts(context, source, config, stopIfAsked);
    const chosen = new Map(choice?.layers.map((layer) => [layer.layer, layer.chosen]));
    const origins = originsOf(recipe, source.config, config, (layer) => chosen.get(layer)!);
    const stored = new Set(source.weights.names.map((name) => source.weights.info(name).dtype));
    if (dtype === 'bfloat16' && [...stored].some((type) => type !== 'BF16')) {
      reporter.say(`init: the weights of ${init.folder} are rounded to bfloat16`);
    }
    reporter.progress({ stage: 'init', note: `copying ${init.folder}` });
    const { files, fingerprints } = await writeParts(stage.folder, {
      config,
      json,
      dtype,
      check: stage.assertOwned,
      tensor: (parameter) => {
        stopIfAsked();
        const origin = origins(parameter)!;
        if (origin.from === 'seed') return initialTensor(parameter, config, { seed, dtype });
        if (origin.from === 'zeros') return torch.zeros([...parameter.shape], { dtype });
        return taken(source, origin).to({ dtype });
      },
    });
    const write = (name: string, value: unknown) => writeJson(stage.path(name), value, stage.assertOwned);
    const parameters = countParameters(config);
    reporter.say(`init: ${parameters.total.toLocaleString('en')} parameters from ${init.folder}`);
    return {
      outputs: [
        ...files,
        write('fingerprints.json', { format: 1, seed, dtype, ...fingerprints }),
        write(IDENTITY_FILE, identity),
        ...(choice === null ? [] : [write('experts.json', choice)]),
      ],
      hashes: fingerprints,
      summary: { parameters: { ...parameters }, from: init.from, source: identityHash(identity) },
    };
  } finally {
    source.close();
  }
}

/** What an origin takes of a folder's tensor, in the folder's own dtype. */
function taken({ weights }: InitSource, { parameter, select }: Origin & { from: 'folder' }): Tensor {
  const { dtype, shape } = weights.info(parameter.name);
  const all = torch.fromBytes(weights.read(parameter.name), [...shape], dtypeOfSafetensors(dtype));
  return select.reduce(
    (tensor, { dimension, ranges }) =>
      torch.cat(
        ranges.map(({ start, length }) => tensor.narrow(dimension, start, length)),
        { dim: dimension },
      ),
    all,
  );
}

/** The experts of each layer; null for a dense source, whose one expert everybody copies. */
async function chooseExperts(
  context: StageRun,
  source: InitSource,
  target: ModelConfig,
  stopIfAsked: () => void,
): Promise<Choice | null> {
  const { recipe, device, reporter } = context;
  const { init, corpus, seed } = recipe;
  if (init.from === 'dense') return null;
  const layers = Array.from({ length: target.numHiddenLayers }, (_, layer) => layer);
  if (init.experts !== 'mostUsed') {
    const chosen = fixedChoice(recipe, target);
    return {
      format: 1,
      experts: init.experts,
      sample: null,
      layers: layers.map((layer) => ({ layer, chosen })),
    };
  }
  const rows = sampleRows(context);
  const usage = await countUsage(source, rows, device, (layer) => {
    stopIfAsked();
    reporter.progress({
      stage: 'init',
      note: `counting the use of experts, layer ${layer + 1} of ${layers.length}`,
    });
  });
  const chosen = mostUsed(usage, target.numExperts);
  return {
    format: 1,
    experts: init.experts,
    sample: {
      split: 'train',
      tokens: rows.reduce((sum, piece) => sum + piece.tokens, 0),
      rows: rows.reduce((sum, piece) => sum + piece.rows, 0),
      sequenceLength: corpus.sequenceLength,
      seed,
    },
    layers: usage.map((one) => ({ ...one, chosen: chosen.get(one.layer)! })),
  };
}

/** The first rows of the training split in the order of the seed. */
function sampleRows(context: StageRun): TokenRows[] {
  const { run, recipe } = context;
  const { corpus, init, seed } = recipe;
  const { sequenceLength } = corpus;
  const count = Math.max(1, Math.ceil(init.sampleTokens / sequenceLength));
  const atOnce = Math.max(1, Math.floor(PIECE_TOKENS / sequenceLength));
  const store = openSplit(context, 'train');
  try {
    const eos = endTokenOf(requireDone(run, 'corpus'));
    const source = new BatchSource({
      ...{ store, documents: null, ...rowOptions(corpus), seed, eos },
      batchSize: count,
    });
    return Array.from({ length: Math.ceil(count / atOnce) }, (_, piece) =>
      source.rows(0, piece * atOnce, Math.min(atOnce, count - piece * atOnce)),
    );
  } finally {
    store.close();
  }
}

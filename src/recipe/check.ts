/**
 * Checks between the keys of a recipe that its schema cannot express. Pure: reads no file and allocates nothing.
 * Whether a model family honours every field of `model.config` is checked by the model itself.
 */
import type { Fault } from './faults.js';
import { show } from './faults.js';
import type { Precision, Recipe } from './schema.js';

/** What the checks found. Warnings do not stop a run. */
export interface CheckResult {
  faults: Fault[];
  warnings: string[];
}

/**
 * How far given backbone weights may be from a sum of 1: less than half a step of float32, so that the average of
 * equal backbones is that backbone, bit for bit.
 */
export const GAMMA_TOLERANCE = 1e-9;

/**
 * Why the trainer cannot train in a precision, or null when it can: today float32 throughout, or bfloat16
 * throughout, without a master copy and rounding to nearest.
 */
export function precisionFault(precision: Precision): Fault | null {
  const { weights, compute, gradients, moments, master, rounding } = precision;
  const uniform = weights === compute && weights === gradients && weights === moments;
  if (uniform && master === 'none' && rounding === 'nearest') return null;
  return {
    key: 'train.precision',
    message: 'this combination cannot be trained yet',
    expected: 'float32 for all four, or bfloat16 for all four, with master: none and rounding: nearest',
    found: show(precision),
  };
}

/** What families call the number of experts, and that of those selected. */
function keysOf(config: Record<string, unknown>): { experts: string; selected: string } {
  const local = config.model_type === 'mixtral' || 'num_local_experts' in config;
  return {
    experts: local ? 'num_local_experts' : 'num_experts',
    selected: config.model_type === 'llama_moe' ? 'num_selects' : 'num_experts_per_tok',
  };
}

/** E, the number of routed experts per layer, of a resolved recipe. */
export function expertCount({ model }: Recipe): number {
  return model.config[keysOf(model.config).experts] as number;
}

/** How many submodels are trained: E, or one where the corpus is not divided. */
export function submodelCount(recipe: Recipe): number {
  return recipe.partition.method === 'whole' ? 1 : expertCount(recipe);
}

/** Whether a run of this recipe has a seed phase: training of all on everything before the split. */
export function hasSeedPhase(recipe: Recipe): boolean {
  return recipe.train.seed.steps > 0;
}

class Checker {
  readonly faults: Fault[] = [];
  readonly warnings: string[] = [];
  constructor(private readonly config: Record<string, unknown>) {}

  refuse(key: string, message: string, expected?: string, found?: unknown, hint?: string): void {
    this.faults.push({
      key,
      message,
      ...(expected === undefined ? {} : { expected }),
      ...(found === undefined ? {} : { found: show(found) }),
      ...(hint === undefined ? {} : { hint }),
    });
  }

  /** A whole number of config.json; `otherwise` is what transformers takes where the key is absent. */
  whole(key: string, otherwise: number | null): number | null {
    const value = this.config[key] ?? otherwise;
    if (typeof value === 'number' && Number.isInteger(value) && value >= 1) return value;
    const message = this.config[key] === undefined ? 'missing key' : 'wrong value';
    this.refuse(`model.config.${key}`, message, 'a whole number at least 1', this.config[key]);
    return null;
  }
}

function checkModel(check: Checker, recipe: Recipe): void {
  const { config } = recipe.model;
  const keys = keysOf(config);
  const experts = check.whole(keys.experts, null);
  const selected = check.whole(keys.selected, config.model_type === 'mixtral' ? 2 : 4);
  const hidden = check.whole('hidden_size', 2048);
  const heads = check.whole('num_attention_heads', 16);
  const keyValueHeads = check.whole('num_key_value_heads', 16);
  const positions = check.whole('max_position_embeddings', 32768);
  check.whole('vocab_size', null);
  check.whole('num_hidden_layers', 24);
  if (experts === 1) {
    check.refuse(
      `model.config.${keys.experts}`,
      'MoE-DisCo needs at least two experts',
      'at least 2',
      experts,
    );
  }
  if (experts !== null && selected !== null && selected > experts) {
    check.refuse(
      `model.config.${keys.selected}`,
      'more experts are selected than there are',
      `at most ${keys.experts} = ${experts}`,
      selected,
    );
  }
  if (config.head_dim == null && hidden !== null && heads !== null && hidden % heads !== 0) {
    check.refuse(
      'model.config.hidden_size',
      'the hidden size is not divisible by the attention heads',
      `a multiple of num_attention_heads = ${heads}`,
      hidden,
    );
  }
  if (heads !== null && keyValueHeads !== null && heads % keyValueHeads !== 0) {
    check.refuse(
      'model.config.num_key_value_heads',
      'the attention heads are not divisible by the key and value heads',
      `a divisor of num_attention_heads = ${heads}`,
      keyValueHeads,
    );
  }
  if (positions !== null && recipe.corpus.sequenceLength > positions) {
    check.refuse(
      'corpus.sequenceLength',
      'rows are longer than the positions of the model',
      `at most max_position_embeddings = ${positions}`,
      recipe.corpus.sequenceLength,
    );
  }
  checkInit(check, recipe, experts);
  if (experts !== null) checkGamma(check, recipe);
  if (experts !== null && selected !== null) warnAboutRouter(check, config, experts, selected);
}

/** Where training starts: the folder and the choice of experts, as far as the recipe tells. */
function checkInit(check: Checker, { init }: Recipe, experts: number | null): void {
  const { from, folder, experts: chosen } = init;
  if (from !== 'scratch' && folder === null) {
    check.refuse('init.folder', 'the folder to start from is missing', 'a Hugging Face folder');
  }
  if (from === 'scratch' && folder !== null) {
    check.refuse(
      'init.folder',
      'a folder is given, but the weights are drawn from the seed',
      'null, or init.from: folder or dense',
      folder,
    );
  }
  if (!Array.isArray(chosen)) return;
  if (from !== 'folder') {
    check.refuse('init.experts', 'experts are chosen of a folder that has some', 'init.from: folder', from);
  } else if (new Set(chosen).size !== chosen.length) {
    check.refuse('init.experts', 'an expert is named twice', 'numbers that differ', chosen);
  } else if (experts !== null && chosen.length !== experts) {
    check.refuse('init.experts', 'one number per expert is needed', `${experts} numbers`, chosen);
  }
}

/** Given backbone weights: one for each submodel, which sum to 1. */
function checkGamma(check: Checker, recipe: Recipe): void {
  const { gamma } = recipe.merge;
  if (!Array.isArray(gamma)) return;
  const submodels = submodelCount(recipe);
  const sum = gamma.reduce((a, b) => a + b, 0);
  if (gamma.length !== submodels) {
    check.refuse('merge.gamma', 'one weight per submodel is needed', `${submodels} numbers`, gamma);
  } else if (Math.abs(sum - 1) > GAMMA_TOLERANCE) {
    check.refuse('merge.gamma', 'the weights must sum to 1', 'a sum of 1', sum);
  }
}

/** Router semantics (k, norm_topk_prob) are those of both arms: the selected weights should sum to 1. */
function warnAboutRouter(
  check: Checker,
  config: Record<string, unknown>,
  experts: number,
  selected: number,
): void {
  const noisy = config.model_type === 'llama_moe';
  // Both families divide by the sum whatever their configuration says.
  const normalized = noisy || config.model_type === 'mixtral' || config.norm_topk_prob === true;
  const balanced = noisy
    ? config.gate_use_balance !== false && config.gate_balance_loss_weight !== 0
    : config.output_router_logits === true && config.router_aux_loss_coef !== 0;
  const { experts: expertsKey, selected: selectedKey } = keysOf(config);
  const balanceKey = noisy ? 'gate_use_balance' : 'output_router_logits';
  if (selected > 1 && selected < experts && !normalized) {
    check.warnings.push(
      `model.config.norm_topk_prob is false with top-${selected} of ${experts}: the weights of the selected experts ` +
        'sum to less than 1, while a submodel gives its one expert the weight 1. Set it to true.',
    );
  }
  if (selected === 1 && normalized) {
    const fixed = noisy || config.model_type === 'mixtral';
    check.warnings.push(
      `${fixed ? `model.config.${selectedKey} is 1` : 'model.config.norm_topk_prob is true with top-1'}: a single weight ` +
        `normalised to 1 leaves the router without a gradient of the loss.${fixed ? '' : ' Set it to false.'}`,
    );
  }
  // That of LLaMA-MoE is also about the weights, which differ however many are selected.
  if (selected === experts && balanced && !noisy) {
    check.warnings.push(
      `The load-balancing loss has no gradient where every expert is selected (${selectedKey} = ${expertsKey}); ` +
        `set model.config.${balanceKey} to false.`,
    );
  }
  const scale = config.score_scale_factor ?? 1;
  if (noisy && scale !== 1) {
    check.warnings.push(
      `model.config.score_scale_factor is ${scale}: the weights of the selected experts sum to that instead of 1. A ` +
        'submodel keeps the scale and is then a LLaMA-MoE with one expert, not a plain Llama.',
    );
  }
  if (selected < experts && !balanced) {
    check.warnings.push(
      `Only ${selected} of ${experts} experts are selected and no load-balancing loss is on: some experts may stay ` +
        `unused. Set model.config.${balanceKey} to true and ${noisy ? 'gate_balance_loss_weight' : 'router_aux_loss_coef'} above 0.`,
    );
  }
}

function checkTraining(check: Checker, { train, partition, merge }: Recipe): void {
  const { steps, epochs } = train.submodels;
  if ((steps === null) === (epochs === null)) {
    check.refuse(
      'train.submodels.steps',
      'the length of the S-phase is given either in steps or in epochs',
      'exactly one of train.submodels.steps and train.submodels.epochs',
      steps === null ? undefined : { steps, epochs },
    );
  }
  if (train.microBatch !== null && train.batchSize % train.microBatch !== 0) {
    check.refuse(
      'train.microBatch',
      'the batch does not divide into micro-batches',
      `a divisor of train.batchSize = ${train.batchSize}`,
      train.microBatch,
    );
  }
  const precision = precisionFault(train.precision);
  if (precision !== null) check.faults.push(precision);
  if (train.precision.weights === 'bfloat16') {
    check.warnings.push(
      'train.precision is bfloat16 throughout and rounds to nearest: updates smaller than about 1/512 of a weight ' +
        'are lost, in both arms.',
    );
  }
  for (const field of ['weightDecay', 'warmupRatio', 'schedule', 'learningRate'] as const) {
    if (train.finetune[field] !== train.baseline[field]) {
      check.warnings.push(
        `train.finetune.${field} (${train.finetune[field]}) differs from train.baseline.${field} ` +
          `(${train.baseline[field]}): the comparison is not between equal trainings.`,
      );
    }
  }
  const { source, folder } = partition.embedding;
  if (source === 'folder' && folder === null) {
    check.refuse(
      'partition.embedding.folder',
      'the folder of the embedding table is missing',
      'a Hugging Face folder',
    );
  }
  if (source === 'corpus' && folder !== null) {
    check.refuse(
      'partition.embedding.folder',
      'a folder is given, but the embedding is made from the corpus',
      'null, or partition.embedding.source: folder',
      folder,
    );
  }
  if (merge.gamma !== 'wpsgd' && merge.lambdaEta !== null) {
    check.refuse('merge.lambdaEta', 'only used by gamma: wpsgd', 'null', merge.lambdaEta);
  } else if (merge.lambdaEta !== null && merge.lambdaEta >= 1) {
    check.refuse('merge.lambdaEta', 'with it a step would not contract', 'below 1', merge.lambdaEta);
  }
}

/** Every fault and warning between the keys of a resolved recipe. */
export function checkRecipe(recipe: Recipe): CheckResult {
  const check = new Checker(recipe.model.config);
  checkModel(check, recipe);
  checkTraining(check, recipe);
  const { holdout, validation, test } = recipe.corpus;
  if (validation === null && holdout.validation === 0) {
    check.refuse(
      'corpus.holdout.validation',
      'validation decides the comparison, so there must be some',
      'above 0, or an official split in corpus.validation',
      0,
    );
  }
  if (test === null && holdout.test === 0) {
    check.refuse(
      'corpus.holdout.test',
      'the test split is read once at the end, so there must be some',
      'above 0, or an official split in corpus.test',
      0,
    );
  }
  return { faults: check.faults, warnings: check.warnings };
}

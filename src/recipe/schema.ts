/**
 * The recipe: everything that determines a run, as one typed table. The schema is the only place that knows a
 * key's name, type, range, default and description; parsing, errors, the JSON Schema for editors and the docs
 * all come from it.
 *
 * Every object is strict: an unknown key is an error.
 */
import { z } from 'zod';

const positive = z.number().positive();
const nonNegative = z.number().nonnegative();
const count = z.int().positive();

const source = z
  .strictObject({
    path: z
      .union([z.string(), z.array(z.string()).min(1)])
      .describe(
        'File, folder or pattern, or a list of them, relative to the recipe; files may be compressed (.gz, .zst). Or a ' +
          'data set on the Hub: hf://datasets/OWNER/NAME[@REVISION][/CONFIG][:SPLIT].',
      ),
    format: z
      .enum(['text', 'wikitext', 'jsonl', 'parquet', 'auto'])
      .describe(
        'How documents lie in the files; auto: by the ending of each name. wikitext may lie in Parquet, a row a line.',
      ),
    textField: z
      .string()
      .min(1)
      .default('text')
      .describe('jsonl, parquet: the field that holds the text; a.b or messages.0.content reach into it.'),
    onBadDocument: z
      .enum(['stop', 'skip'])
      .default('stop')
      .describe('A broken document stops the run, or is counted, reported and left out.'),
  })
  .describe('A source of documents.');

const corpus = z.strictObject({
  train: source.describe('Training documents.'),
  validation: source
    .nullable()
    .default(null)
    .describe('Official validation split, or null: by hash of the text.'),
  test: source.nullable().default(null).describe('Official test split, or null: by hash of the text.'),
  holdout: z
    .strictObject({
      validation: z
        .number()
        .min(0)
        .max(0.5)
        .default(0.02)
        .describe('Share of the texts, where there is no official split.'),
      test: z
        .number()
        .min(0)
        .max(0.5)
        .default(0.02)
        .describe('Share of the texts, where there is no official split.'),
    })
    .prefault({}),
  tokenizer: z
    .string()
    .describe(
      'A tokenizer.json, or a folder with one, with qwen.tiktoken or with vocab.json and merges.txt; relative to the recipe.',
    ),
  unit: z
    .enum(['document', 'row'])
    .default('document')
    .describe('What is clustered. WikiText: article or line. Text: file or line. JSONL: always one line.'),
  batch: z
    .enum(['packed', 'padded'])
    .default('packed')
    .describe(
      'packed: documents concatenated with an end token; padded: one truncated document a row, as the paper did.',
    ),
  documents: z
    .enum(['joined', 'apart'])
    .default('joined')
    .describe(
      'packed: whether a token sees the documents before its own in a row; apart: attention stays within its document, ' +
        'whose positions count from 0.',
    ),
  sequenceLength: z.int().min(2).describe('Tokens per row.'),
  labelField: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe(
      'The field of jsonl and parquet that names what a training document is, such as its domain; kept beside the ' +
        'tokens, for partition.method: field and for measures. "@file": the name of its file without endings.',
    ),
  maxDocuments: count
    .nullable()
    .default(null)
    .describe('Take only the first so many documents of each split.'),
});

const partition = z.strictObject({
  method: z
    .enum(['kmeans', 'random', 'field', 'whole'])
    .default('kmeans')
    .describe(
      'random: the k-means labels permuted; each k then trains on as many tokens as its clustered counterpart. ' +
        'field: the E values of corpus.labelField. whole: no clusters; one submodel on all documents, whose expert ' +
        'the merge copies E times.',
    ),
  embedding: z
    .strictObject({
      source: z
        .enum(['corpus', 'tfidf', 'folder', 'model'])
        .default('corpus')
        .describe(
          'corpus: a table from the corpus itself (PPMI, truncated SVD); tfidf: tf-idf of tokens and a truncated SVD, ' +
            'as c-BTM; folder: the table of a Hugging Face folder; model: that of the model that training starts from.',
        ),
      folder: z
        .string()
        .nullable()
        .default(null)
        .describe('folder: where it is; its own tokenizer.json makes the ids.'),
      dimension: count
        .nullable()
        .default(null)
        .describe('corpus, tfidf: dimensions kept by the truncated SVD; null: 32 of corpus, 100 of tfidf.'),
      window: count.default(16).describe('corpus: co-occurrence window in tokens, to each side.'),
      stopWords: z
        .enum(['none', 'english'])
        .default('none')
        .describe('tfidf: english leaves out the words that every English text has.'),
      maxTokens: count
        .default(4_000_000)
        .describe('corpus, tfidf: tokens counted for the table, in documents drawn at random.'),
    })
    .prefault({}),
  center: z
    .boolean()
    .default(true)
    .describe('Subtract the mean vector before k-means. c-BTM does not: false with tfidf is its way.'),
  normalize: z.boolean().default(true).describe('Scale document vectors to unit length (after centring).'),
  sample: count
    .nullable()
    .default(null)
    .describe('Find the clusters on so many documents drawn at random, then assign all; null: on all.'),
  algorithm: z
    .enum(['lloyd', 'miniBatch'])
    .default('lloyd')
    .describe('lloyd: every iteration reads all vectors; miniBatch: a batch drawn at random.'),
  batchSize: count.default(4096).describe('miniBatch: vectors of a batch.'),
  balanced: z
    .enum(['none', 'documents', 'tokens'])
    .default('none')
    .describe(
      'Clusters of nearly equal size, in documents or in tokens. The S-phase is paid as E times its longest submodel: ' +
        'tokens is what saves money.',
    ),
  tolerance: z
    .number()
    .positive()
    .lt(1)
    .default(0.05)
    .describe('balanced: share by which a cluster may differ from the mean size.'),
  restarts: count.default(4).describe('k-means++ restarts; the lowest inertia is kept.'),
  maxIterations: count.default(100).describe('Lloyd iterations, or mini-batches, of one start at most.'),
});

const precision = z
  .strictObject({
    weights: z.enum(['float32', 'bfloat16']).default('float32'),
    compute: z.enum(['float32', 'bfloat16']).default('float32'),
    gradients: z.enum(['float32', 'bfloat16']).default('float32'),
    moments: z.enum(['float32', 'bfloat16']).default('float32'),
    master: z
      .enum(['none', 'float32'])
      .default('none')
      .describe('A float32 copy of the weights that the optimizer updates.'),
    rounding: z.enum(['nearest', 'stochastic']).default('nearest'),
  })
  .describe('One value for the recipe, checkpoints and the cost model.');

const phase = {
  learningRate: positive.describe('Peak learning rate.'),
  weightDecay: nonNegative.default(0.01).describe('Decoupled, as in AdamW, on every trained parameter.'),
  warmupRatio: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe('Share of the steps with a linear warm-up from 0.'),
  schedule: z
    .enum(['constant', 'linear', 'cosine'])
    .describe('After the warm-up: constant, or to 0 at the last step.'),
};

const horizon = z.strictObject({
  ...phase,
  steps: count.describe('The whole horizon, which is also what is billed.'),
});

const train = z.strictObject({
  batchSize: count.describe('Rows of a global batch: one optimizer step.'),
  microBatch: count
    .nullable()
    .default(null)
    .describe('Rows computed at once; null: the whole batch. Not part of the result key.'),
  adam: z
    .strictObject({
      beta1: z.number().min(0).lt(1).default(0.9),
      beta2: z.number().min(0).lt(1).default(0.999),
      epsilon: positive.default(1e-8),
    })
    .prefault({}),
  clipNorm: positive.nullable().default(1).describe('Global gradient norm, or null for no clipping.'),
  precision: precision.prefault({}),
  seed: z
    .strictObject({
      steps: z.int().nonnegative().default(0).describe('0: there is no seed phase.'),
      model: z
        .enum(['whole', 'submodel'])
        .default('whole')
        .describe(
          'whole: all parameters; submodel: one dense submodel, whose backbone all submodels then start from and whose ' +
            'expert is copied for each of them.',
        ),
      learningRate: positive.nullable().default(null).describe('Peak; null: that of train.submodels.'),
      weightDecay: phase.weightDecay,
      warmupRatio: phase.warmupRatio,
      schedule: phase.schedule.default('constant'),
    })
    .describe('Shared training on all data before the split, as branch-train-merge does it.')
    .prefault({}),
  submodels: z
    .strictObject({
      ...phase,
      steps: count.nullable().default(null).describe('Steps of every submodel, or null: by epochs.'),
      epochs: positive
        .nullable()
        .default(null)
        .describe('Passes over its cluster: steps_k = ceil(epochs rows_k / batch).'),
    })
    .describe('S-phase.'),
  finetune: horizon.describe('F-phase: the merged model on all data.'),
  baseline: horizon.describe(
    'Full-parameter training of the same model from the same initial weights, without the seed phase.',
  ),
  evaluateEvery: count.describe('Steps between held-out losses of baseline and fine-tuning.'),
  evaluateTokens: count
    .default(65_536)
    .describe('Validation tokens of those evaluations: always the same first ones.'),
  checkpointMinutes: positive.default(5).describe('Minutes between checkpoints.'),
  checkpointSteps: count
    .nullable()
    .default(null)
    .describe('Steps between checkpoints; null: by minutes only.'),
});

const init = z.strictObject({
  from: z
    .enum(['scratch', 'folder', 'dense'])
    .default('scratch')
    .describe(
      'scratch: weights drawn from the seed; folder: those of a model of the same family; dense: upcycled, every ' +
        "expert a copy of a dense model's feed-forward block. The router's rows are the folder's, or drawn (dense).",
    ),
  folder: z
    .string()
    .nullable()
    .default(null)
    .describe('folder, dense: a Hugging Face folder, or finetuned/ or merged/ of another run.'),
  experts: z
    .union([z.enum(['first', 'mostUsed']), z.array(z.int().nonnegative()).min(2)])
    .default('first')
    .describe(
      'folder: which of its experts where it has more than model.config.num_experts; mostUsed: those of each layer ' +
        'that most tokens of a sample of the corpus are routed to; a list: these numbers, in every layer.',
    ),
  sampleTokens: count.default(32_768).describe('mostUsed: tokens of the sample, from the training split.'),
  neurons: z
    .enum(['first', 'spread'])
    .default('first')
    .describe(
      "dense: which neurons an expert narrower than the dense block takes; spread: expert k begins at k times the expert's width.",
    ),
  allowChange: z
    .boolean()
    .default(false)
    .describe(
      'Start even where the model would not compute what the folder does; otherwise that is refused.',
    ),
});

const merge = z.strictObject({
  gamma: z
    .union([z.enum(['uniform', 'samples', 'wpsgd']), z.array(nonNegative).min(1)])
    .default('samples')
    .describe(
      'Backbone weights of eq. (2); samples: non-padding tokens consumed. A list keeps exactly these.',
    ),
  lambdaEta: positive
    .nullable()
    .default(null)
    .describe('wpsgd: lambda * eta; null: weight decay times learning rate.'),
  average: z
    .enum(['plain', 'radial'])
    .default('plain')
    .describe(
      "radial: mean direction of the backbones' changes, scaled to their mean norm, tensor by tensor.",
    ),
  router: z
    .enum(['original'])
    .default('original')
    .describe('original: the rows of the initialisation, untouched.'),
});

const card = z.strictObject({
  name: z.string(),
  dollarsPerHour: nonNegative,
  peakTflops: positive.describe('Dense peak of the precision trained in, TFLOP/s.'),
  utilization: z
    .number()
    .positive()
    .max(1)
    .describe('Share of the peak that training reaches: an assumption, shown as such.'),
  memoryGB: positive.describe('Memory of the card, 10^9 bytes.'),
});

const cost = z
  .strictObject({
    machineDollarsPerHour: nonNegative
      .default(0.1)
      .describe('The one rate at which both arms are billed for the machine that ran them.'),
    cheapCard: card.prefault({
      name: 'RTX 4090',
      dollarsPerHour: 0.35,
      peakTflops: 165.2,
      utilization: 0.4,
      memoryGB: 24,
    }),
    largeCard: card.prefault({
      name: 'A100-80GB',
      dollarsPerHour: 2.28,
      peakTflops: 312,
      utilization: 0.4,
      memoryGB: 80,
    }),
  })
  .prefault({});

const caps = {
  usd: positive.nullable().default(null).describe('Dollars at machineDollarsPerHour, or null for no cap.'),
  hours: positive.nullable().default(null).describe('Billed hours, those of all workers added; or null.'),
};

const budget = z
  .strictObject({
    ...caps,
    perExpert: z.strictObject(caps).describe('The same for the S-phase of each submodel.').prefault({}),
  })
  .describe('Caps: a warning at 80 %; at the cap the work is saved and ends with exit code 76.')
  .prefault({});

const execution = z
  .strictObject({
    devices: z
      .array(z.string().regex(/^(cpu|cuda:\d+)$/, 'expected cpu or cuda:N'))
      .min(1)
      .default(['cpu']),
    threads: count
      .nullable()
      .default(null)
      .describe('Threads of the tensor library per worker; null: all cores.'),
    backward: z
      .enum(['graph', 'blocks'])
      .default('graph')
      .describe('Autograd over the whole graph, or block by block.'),
  })
  .describe('How the run is executed. Never part of a result key.')
  .prefault({});

const evaluation = z
  .strictObject({
    tasks: z
      .array(z.string().regex(/^[a-z0-9_]+(:\d{1,3})?$/, 'expected TASK or TASK:SHOTS'))
      .default([])
      .describe(
        'Tasks of the evaluation harness that `evaluate RUN` asks of the fine-tuned model and the baseline: arc_easy:5.',
      ),
    limit: count.nullable().default(null).describe('Only the first so many questions of each; null: all.'),
  })
  .describe('What `evaluate RUN` measures beside held-out losses. Never part of a result key.')
  .prefault({});

/** The whole recipe. `recipeSchema.parse` fills defaults; see recipes/ for commented examples. */
export const recipeSchema = z.strictObject({
  format: z.literal(1).describe('Version of the recipe format.'),
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'expected letters, digits, . _ and -')
    .describe('Default name of the run folder.'),
  seed: z
    .int()
    .nonnegative()
    .max(2 ** 32 - 1)
    .default(0)
    .describe('Initial weights, data order and k-means follow from it.'),
  corpus,
  partition: partition.prefault({}),
  init: init.prefault({}),
  model: z.strictObject({
    config: z
      .union([z.string(), z.record(z.string(), z.unknown())])
      .describe('A config.json of the family, or the path of one. num_experts is E.'),
  }),
  train,
  merge: merge.prefault({}),
  evaluation,
  cost,
  budget,
  execution,
});

/** A recipe with every default filled in; `model.config` may still be the path of a file. */
type ParsedRecipe = z.output<typeof recipeSchema>;
/** A resolved recipe: every default filled in, paths absolute, `model.config` read. What stages are given. */
export type Recipe = Omit<ParsedRecipe, 'model'> & { model: { config: Record<string, unknown> } };
/** A recipe as a user writes it. */
export type RecipeInput = z.input<typeof recipeSchema>;
export type Source = Recipe['corpus']['train'];
export type Precision = z.output<typeof precision>;
export type Card = z.output<typeof card>;

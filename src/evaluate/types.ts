/** What the evaluation stage writes to evaluation/evaluation.json, and the comparison reads. */
import { z } from 'zod';

const finite = z.number();

/** Mean loss over the target tokens of a split. */
const splitLoss = z.strictObject({
  /** Mean negative log-likelihood, nats per target token (padding and first tokens excluded). */
  loss: finite,
  /** exp(loss). */
  perplexity: finite,
  /** Target tokens. */
  tokens: z.int().nonnegative(),
});

/** One document: the sum of the negative log-likelihoods of its target tokens (nats), and how many these are. */
const documentLoss = z.tuple([finite, z.int().nonnegative()]);

/** Losses of the two final models, document by document and in the same order, so that they can be paired. */
const pairedDocuments = z.strictObject({ finetuned: z.array(documentLoss), baseline: z.array(documentLoss) });

export const evaluationSchema = z.strictObject({
  format: z.literal(1),
  /** `submodels/0`, `submodels/1`, ..., `merged`, `finetuned`, `baseline`, each on the whole validation split. */
  models: z.record(z.string(), z.strictObject({ validation: splitLoss })),
  /** The test split, read once. */
  test: z.strictObject({ finetuned: splitLoss, baseline: splitLoss }),
  /** Interpolated bigram model counted on the training tokens. */
  bigram: z.strictObject({ validation: splitLoss }),
  perDocument: z.strictObject({ validation: pairedDocuments, test: pairedDocuments }),
});

/** Content of evaluation/evaluation.json. */
export type Evaluation = z.output<typeof evaluationSchema>;
export type SplitLoss = z.output<typeof splitLoss>;
/** `[sum of nats, target tokens]` of one document. */
export type DocumentLoss = z.output<typeof documentLoss>;

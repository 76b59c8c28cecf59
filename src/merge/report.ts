/** What the merge writes to merged/merge.json: its proof, and what it has found out about the submodels. */
import { z } from 'zod';

const tensorRecord = z.strictObject({
  name: z.string(),
  dtype: z.string(),
  shape: z.array(z.int().nonnegative()),
  /** `average` over all submodels, `copy` of one, or the `initial` values. */
  made: z.enum(['average', 'copy', 'initial']),
  /** Stage and tensor of every part. */
  from: z.array(z.string()),
  /** SHA-256 of the bytes. */
  sha256: z.string(),
});

const barrier = z.strictObject({
  /** Held-out losses, all on the same text. */
  merged: z.number(),
  submodels: z.array(z.number()),
  meanOfSubmodels: z.number(),
  /** merged - meanOfSubmodels: above 0 the average is worse than its parts. */
  barrier: z.number(),
  heldOutTokens: z.int().nonnegative(),
});

const parent = z.strictObject({
  name: z.string(),
  files: z.array(z.strictObject({ name: z.string(), size: z.int().nonnegative(), sha256: z.string() })),
});

const findings = {
  /** The weights of the backbones. */
  gamma: z.array(z.number()),
  /** sqrt(mean_k ||theta_k - average||^2 / ||average||^2) over the backbone. */
  relativeDrift: z.number(),
};

/** Summary of the merged stage. */
export const mergeSummarySchema = z.strictObject({ ...findings, barrier });

/** Content of merged/merge.json. */
export const mergeReportSchema = z.strictObject({
  format: z.literal(1),
  /** As the recipe has it. */
  gammaMode: z.union([z.string(), z.array(z.number())]),
  average: z.enum(['plain', 'radial']),
  router: z.enum(['original']),
  ...findings,
  /** Null where folders were merged outside a run, which have no held-out text. */
  barrier: barrier.nullable(),
  /** The submodels' files of weights, where folders were merged. */
  parents: z.array(parent).optional(),
  /** Every tensor of the merged model. */
  tensors: z.array(tensorRecord),
});

export type TensorRecord = z.output<typeof tensorRecord>;
export type Barrier = z.output<typeof barrier>;
export type MergeSummary = z.output<typeof mergeSummarySchema>;

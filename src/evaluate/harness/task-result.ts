/** A task's result as a file: what was asked, of which model, and every answer. Written when the task is done. */
import { z } from 'zod';

const score = z.strictObject({ logLikelihood: z.number(), greedy: z.boolean() });
const measureSchema = z.union([z.number(), z.tuple([z.number(), z.number()])]);

export const taskResultSchema = z.strictObject({
  format: z.literal(1),
  /** Hash of everything that the result depends on. */
  key: z.string(),
  task: z.string(),
  version: z.number(),
  shots: z.int().nonnegative(),
  /** Rows of the split. */
  total: z.int().nonnegative(),
  /** Data files and their SHA-256. */
  files: z.record(z.string(), z.string()),
  seconds: z.number(),
  /** Value and standard error of each metric. */
  summaries: z.record(z.string(), z.strictObject({ value: z.number(), stderr: z.number().nullable() })),
  samples: z.array(
    z.strictObject({
      document: z.int().nonnegative(),
      /** The right choice, or the text that was scored. */
      target: z.union([z.int(), z.string()]),
      scores: z.array(score),
      measures: z.record(z.string(), measureSchema),
    }),
  ),
});

export type TaskResult = z.output<typeof taskResultSchema>;

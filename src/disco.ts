/**
 * MoE-DisCo, Algorithm 1 of the paper, one call a line. Every line is a stage: it reads the run folder and
 * writes its own folder there, is skipped when it is done, and continues when it was interrupted.
 */
import { type Stages, submodelStage } from './launch/stages.js';
import type { Done } from './run/done.js';

/**
 * Trains a Mixture-of-Experts model the DisCo way, and by full-parameter training beside it.
 * @param submodels how many: E, the number of routed experts of each layer
 * @param seed whether there is a seed phase: a shared training before the split
 * @param stages how stages are run: in this process, or in workers
 * @returns the comparison's DONE; its summary holds what was measured
 */
export async function disco(
  { submodels, seed }: { submodels: number; seed: boolean },
  stages: Stages,
): Promise<Done> {
  const parts = Array.from({ length: submodels }, (_, k) => submodelStage(k));

  await stages.run('corpus'); //          D: documents as tokens; train, validation and test
  await stages.run('partition'); //       h_x = MeanPool(Embed(x));  {D_k} = KMeans({h_x}, K = E)
  await stages.run('init'); //            Theta = (theta_shared, theta_1 .. theta_E), drawn or from a folder
  if (seed) await stages.run('seed'); //  seed phase: Theta trained on D for a while
  await stages.runAll(parts); //      S-phase, for each k apart: (theta_shared^(k), theta_k) trained on D_k
  await stages.run('merged'); //          theta_exp = Concat(theta_1 .. theta_E);  theta_shared = sum_k gamma_k theta_shared^(k)
  await stages.run('finetuned'); //       F-phase: M(Theta, D)
  await stages.run('baseline'); //        the rival: the same model from the same start, all parameters on all data
  await stages.run('evaluation'); //      losses and perplexities of all of them, on text that none was trained on
  return stages.run('comparison'); //     steps, tokens, seconds and dollars of both ways
}

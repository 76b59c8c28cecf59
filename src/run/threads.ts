/** How many threads a process may compute with. */
import { availableParallelism } from 'node:os';

/**
 * Threads for each of `concurrent` processes: what the recipe says, else OMP_NUM_THREADS (a scheduler sets it),
 * else an equal share of the cores this process may use.
 */
export function threadsFor(recipe: number | null, concurrent: number): number {
  const fromEnvironment = Number(process.env.OMP_NUM_THREADS);
  if (recipe !== null) return recipe;
  if (Number.isInteger(fromEnvironment) && fromEnvironment > 0) return fromEnvironment;
  return Math.max(1, Math.floor(availableParallelism() / concurrent));
}

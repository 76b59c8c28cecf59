/** The number of the expert that a process is to train: a flag, or what a scheduler puts in the environment. */
import { RequestError } from '../errors.js';

/** Environment variables that may hold the number, first found first. */
export const EXPERT_VARIABLES = [
  'DISCO_EXPERT',
  'SLURM_ARRAY_TASK_ID',
  'JOB_COMPLETION_INDEX',
  'SKYPILOT_JOB_RANK',
] as const;

/**
 * The expert's number: the flag, else the first of {@link EXPERT_VARIABLES} that is set, else null.
 * @param experts E, the number of experts of the recipe
 * @throws RequestError when it is no whole number from 0 to E-1, naming where it came from
 */
export function expertNumber(
  flag: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
  experts: number,
): number | null {
  const variable = EXPERT_VARIABLES.find((name) => (environment[name] ?? '') !== '');
  const [key, text] =
    flag !== undefined ? ['--expert', flag] : variable === undefined ? [] : [variable, environment[variable]];
  if (key === undefined || text === undefined) return null;
  const number = /^\d{1,9}$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (!(number < experts)) {
    throw new RequestError('There is no expert of this number.', {
      key,
      expected: `a whole number from 0 to ${experts - 1}`,
      found: text,
    });
  }
  return number;
}

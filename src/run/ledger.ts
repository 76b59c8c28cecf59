/**
 * The ledger of a stage: what each attempt has used so far. An entry holds the running totals of its attempt, so
 * a kill loses at most what came after the last entry, and nothing is counted twice when the stage goes on: the
 * sum takes the last entry of every attempt.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { DataError } from '../errors.js';
import { JsonlWriter, readJsonl } from '../formats/jsonl.js';
import { checkFormat, FORMAT } from './versioned.js';

/** Running totals by name; `seconds`, `tokens`, `steps` and `flops` are those that every reader knows. */
export type LedgerTotals = Record<string, number>;

const entrySchema = z.looseObject({
  format: z.literal(FORMAT),
  stage: z.string(),
  attempt: z.int().positive(),
  device: z.string(),
  at: z.string(),
  totals: z.record(z.string(), z.number()),
});

export type LedgerEntry = z.output<typeof entrySchema>;

/** Writes the ledger of one attempt. */
export class LedgerWriter {
  readonly #file: JsonlWriter;
  readonly #began = performance.now();
  readonly #place: { stage: string; attempt: number; device: string };
  #totals: LedgerTotals = {};

  constructor(folder: string, place: { stage: string; attempt: number; device: string }) {
    this.#file = new JsonlWriter(join(folder, 'ledger.jsonl'));
    this.#place = place;
  }

  /**
   * Records the running totals of this attempt: since it began, not since the last entry. Names left out keep
   * their last value. `seconds` need not be given: it is at least the wall-clock time since the attempt began.
   */
  append(totals: LedgerTotals = {}): void {
    const before = this.#totals.seconds ?? 0;
    const elapsed = (performance.now() - this.#began) / 1000;
    const seconds = Math.max(before, elapsed, totals.seconds ?? 0);
    this.#totals = { ...this.#totals, ...totals, seconds };
    this.#file.append({ format: FORMAT, ...this.#place, at: new Date().toISOString(), totals: this.#totals });
  }

  close(): void {
    this.#file.close();
  }
}

/** All entries of a stage's ledger; none when it has not begun. Throws DataError for damaged or newer ones. */
export function readLedger(folder: string): LedgerEntry[] {
  const path = join(folder, 'ledger.jsonl');
  return readJsonl(path).map((value, index) => {
    checkFormat(path, value);
    const entry = entrySchema.safeParse(value);
    if (!entry.success)
      throw new DataError('Unexpected content in a ledger.', { file: path, key: `line ${index + 1}` });
    return entry.data;
  });
}

/** Adds `more` to `sum` name by name. */
export function addTotals(sum: LedgerTotals, more: LedgerTotals): LedgerTotals {
  const result = { ...sum };
  for (const [name, value] of Object.entries(more)) result[name] = (result[name] ?? 0) + value;
  return result;
}

/** Sum over attempts of the last totals of each. */
export function sumLedger(entries: readonly LedgerEntry[]): { attempts: number; totals: LedgerTotals } {
  const last = new Map(entries.map((entry) => [entry.attempt, entry.totals]));
  return { attempts: last.size, totals: [...last.values()].reduce(addTotals, {}) };
}

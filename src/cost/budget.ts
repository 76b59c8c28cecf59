/**
 * Caps on what a run may cost: a warning at 80 %, and at the cap the work is saved and ends with 76. Dollars are
 * billed seconds at the recipe's one rate; seconds are those of the ledgers, of this run's own stages only: what a
 * fork refers to was paid by another run.
 */
import { BudgetError } from '../errors.js';
import type { Recipe } from '../recipe/schema.js';
import type { StageRun, StopSignal } from '../run/context.js';
import type { RunFolder } from '../run/folder.js';
import { readLedger, sumLedger } from '../run/ledger.js';

const WARN_AT = 0.8;
/** Seconds between two looks at what other stages have used meanwhile: ledgers are written as often. */
const LOOK_EVERY = 30;

/** One cap that is set. */
interface Cap {
  key: string;
  limit: number;
  /** What has been used of it, from billed seconds. */
  used(seconds: { run: number; stage: number }): number;
  text(amount: number): string;
}

function capsOf(recipe: Recipe, stage: string): Cap[] {
  const { budget, cost } = recipe;
  const dollars = (seconds: number) => (seconds / 3600) * cost.machineDollarsPerHour;
  const hours = (seconds: number) => seconds / 3600;
  const money = (amount: number) => `$${amount.toPrecision(3)}`;
  const time = (amount: number) => `${amount.toPrecision(3)} h`;
  const all: [string, number | null, (seconds: number) => number, 'run' | 'stage', Cap['text']][] = [
    ['budget.usd', budget.usd, dollars, 'run', money],
    ['budget.hours', budget.hours, hours, 'run', time],
  ];
  if (stage.startsWith('submodels/')) {
    all.push(['budget.perExpert.usd', budget.perExpert.usd, dollars, 'stage', money]);
    all.push(['budget.perExpert.hours', budget.perExpert.hours, hours, 'stage', time]);
  }
  return all.flatMap(([key, limit, unit, of, text]) =>
    limit === null ? [] : [{ key, limit, text, used: (seconds) => unit(seconds[of]) }],
  );
}

/** Billed seconds of the run's own stages, by stage. */
function billedSeconds(run: RunFolder): Map<string, number> {
  return new Map(
    run
      .stages()
      .map((name) => [name, sumLedger(readLedger(run.stage(name).own)).totals.seconds ?? 0] as const),
  );
}

/**
 * A stop signal that is also given when a cap of the recipe is reached. Workers that run at the same time learn
 * of each other's seconds from the ledgers, half a minute late.
 */
export class BudgetedStop implements StopSignal {
  readonly #context: Pick<StageRun, 'run' | 'recipe' | 'stop' | 'reporter'>;
  readonly #stage: string;
  readonly #caps: readonly Cap[];
  readonly #now: () => number;
  readonly #began: number;
  /** Of this stage, by earlier attempts. */
  readonly #earlier: number;
  #others = 0;
  #looked: number;
  readonly #warned = new Set<Cap>();

  /** @param now seconds from any beginning; a parameter so that a test need not wait */
  constructor(
    context: Pick<StageRun, 'run' | 'recipe' | 'stop' | 'reporter'>,
    stage: string,
    now: () => number = () => performance.now() / 1000,
  ) {
    this.#context = context;
    this.#stage = stage;
    this.#caps = capsOf(context.recipe, stage);
    this.#now = now;
    this.#began = now();
    this.#looked = this.#began;
    const billed = this.#caps.length === 0 ? new Map<string, number>() : billedSeconds(context.run);
    this.#earlier = billed.get(stage) ?? 0;
    this.#others = this.#sumOfOthers(billed);
  }

  get requested(): boolean {
    return this.#context.stop.requested || this.#reached() !== null;
  }

  get reason(): string {
    if (this.#context.stop.requested) return this.#context.stop.reason;
    const reached = this.#reached();
    return reached === null ? '' : `${reached.key} of ${reached.text(reached.limit)} is used up`;
  }

  /**
   * Throws where a cap is reached and nobody asked to stop.
   * @param error what the stage ended with because of this signal, if it did
   * @throws BudgetError naming the key, the cap and what was used
   */
  refuse(error?: Error): void {
    const reached = this.#context.stop.requested ? null : this.#reached();
    if (reached === null) return;
    throw new BudgetError(error?.message ?? `${this.#stage}: not begun, the budget is used up.`, {
      key: reached.key,
      expected: `at most ${reached.text(reached.limit)}`,
      found: reached.text(reached.used(this.#seconds())),
      hint: `to go on: moe-disco run ${this.#context.run.root} ${reached.key}=MORE`,
      cause: error,
    });
  }

  #reached(): Cap | null {
    if (this.#caps.length === 0) return null;
    const seconds = this.#seconds();
    for (const cap of this.#caps) {
      const used = cap.used(seconds);
      if (used >= cap.limit) return cap;
      if (used < WARN_AT * cap.limit || this.#warned.has(cap)) continue;
      this.#warned.add(cap);
      this.#context.reporter.say(`Warning: ${cap.text(used)} of ${cap.text(cap.limit)} used (${cap.key}).`);
    }
    return null;
  }

  #seconds(): { run: number; stage: number } {
    const now = this.#now();
    if (now - this.#looked >= LOOK_EVERY) {
      this.#looked = now;
      this.#others = this.#sumOfOthers(billedSeconds(this.#context.run));
    }
    const stage = this.#earlier + now - this.#began;
    return { stage, run: stage + this.#others };
  }

  #sumOfOthers(billed: ReadonlyMap<string, number>): number {
    return [...billed].reduce((sum, [name, seconds]) => (name === this.#stage ? sum : sum + seconds), 0);
  }
}

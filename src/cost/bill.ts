/** The arithmetic of Table 3: hours and prices to dollars, savings and the price ratio of equal cost. */

/** Hours of the two ways, and of what they run on. */
export interface Hours {
  /** Number of submodels, each on a cheap card of its own. */
  experts: number;
  /** The shared training before the split, where there is one, and the kind of card that it takes. */
  seed?: { hours: number; card: keyof Prices };
  /** The longest submodel training. */
  submodel: number;
  finetune: number;
  fullParameter: number;
}

/** Dollars an hour of one cheap and one large card. */
export interface Prices {
  cheap: number;
  large: number;
}

/** One row of Table 3. */
export interface Bill {
  fullParameterDollars: number;
  fullParameterHours: number;
  /** Where there is a seed phase. */
  seedDollars?: number;
  seedHours?: number;
  submodelDollars: number;
  submodelHours: number;
  finetuneDollars: number;
  finetuneHours: number;
  totalDollars: number;
  totalHours: number;
  /** 1 - total / full-parameter; negative where the MoE-DisCo way costs more. */
  saving: number;
  /** Price of a large card over that of a cheap one at which both ways cost the same; null where none is. */
  equalCostRatio: number | null;
}

/**
 * The bill of both ways, by the identities of Table 3:
 * S$ = E c t_S, F$ = l t_F, Full$ = l t_full, total$ = S$ + F$, total time = t_S + t_F,
 * with c and l the prices and t_S the longest submodel training (every card is rented until the last is done). A seed
 * phase adds its hours, at the price of its one card.
 */
export function bill(hours: Hours, prices: Prices): Bill {
  const fullParameterDollars = prices.large * hours.fullParameter;
  const { seed } = hours;
  const seedDollars = seed === undefined ? 0 : seed.hours * prices[seed.card];
  const submodelDollars = hours.experts * prices.cheap * hours.submodel;
  const finetuneDollars = prices.large * hours.finetune;
  const totalDollars = seedDollars + submodelDollars + finetuneDollars;
  return {
    fullParameterDollars,
    fullParameterHours: hours.fullParameter,
    ...(seed === undefined ? {} : { seedDollars, seedHours: seed.hours }),
    submodelDollars,
    submodelHours: hours.submodel,
    finetuneDollars,
    finetuneHours: hours.finetune,
    totalDollars,
    totalHours: (seed?.hours ?? 0) + hours.submodel + hours.finetune,
    saving: 1 - totalDollars / fullParameterDollars,
    equalCostRatio: equalCostRatio(hours),
  };
}

/**
 * The ratio r = l / c at which both ways cost the same: E t_S + r t_F = r t_full, a seed phase counted with the
 * card that it takes. Above it MoE-DisCo is the cheaper way. Null where what it does on the large card takes as long
 * as full-parameter training: no ratio helps then.
 */
export function equalCostRatio(hours: Hours): number | null {
  const seed = (card: keyof Prices): number => (hours.seed?.card === card ? hours.seed.hours : 0);
  const saved = hours.fullParameter - hours.finetune - seed('large');
  return saved <= 0 ? null : (hours.experts * hours.submodel + seed('cheap')) / saved;
}

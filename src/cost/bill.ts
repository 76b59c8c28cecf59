/** The arithmetic of Table 3: hours and prices to dollars, savings and the price ratio of equal cost. */

/** Hours of the two ways, and of what they run on. */
export interface Hours {
  /** Number of submodels, each on a cheap card of its own. */
  experts: number;
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
 * with c and l the prices and t_S the longest submodel training (every card is rented until the last is done).
 */
export function bill(hours: Hours, prices: Prices): Bill {
  const fullParameterDollars = prices.large * hours.fullParameter;
  const submodelDollars = hours.experts * prices.cheap * hours.submodel;
  const finetuneDollars = prices.large * hours.finetune;
  const totalDollars = submodelDollars + finetuneDollars;
  return {
    fullParameterDollars,
    fullParameterHours: hours.fullParameter,
    submodelDollars,
    submodelHours: hours.submodel,
    finetuneDollars,
    finetuneHours: hours.finetune,
    totalDollars,
    totalHours: hours.submodel + hours.finetune,
    saving: 1 - totalDollars / fullParameterDollars,
    equalCostRatio: equalCostRatio(hours),
  };
}

/**
 * The ratio r = l / c at which both ways cost the same: E t_S + r t_F = r t_full. Above it MoE-DisCo is the
 * cheaper way. Null where fine-tuning takes as long as full-parameter training: no ratio helps then.
 */
export function equalCostRatio(hours: Hours): number | null {
  const saved = hours.fullParameter - hours.finetune;
  return saved <= 0 ? null : (hours.experts * hours.submodel) / saved;
}

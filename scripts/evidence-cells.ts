/**
 * The cells of the evidence: each a run folder forked from the demo's, so that what they have in common is done
 * once. Horizons and rivals are those of docs/evidence.md.
 */

/** Baseline horizons, in steps; the last is the demo's, and its final loss the target. */
export const BASELINE_HORIZONS = [500, 1000, 2000];
/** F-phase horizons; the last is the demo's. */
export const FINETUNE_HORIZONS = [175, 350, 700];
/** Learning rates tried for every baseline horizon, on the first seed. */
export const LEARNING_RATES = [1.5e-3, 3e-3, 6e-3];
export const SEEDS = [0, 1, 2];
export const EXPERTS = 4;

/** A run folder of the evidence, and the stage whose model is measured. */
export interface Cell {
  /** Folder below that of its seed. */
  name: string;
  /** What it is, for the table. */
  what: string;
  /** Recipe keys that differ from the demo's. */
  overrides: string[];
  submodels: number;
  model: 'finetuned' | 'baseline';
  /** Cells whose stages it shares, which are therefore done first. */
  after: string[];
  /** Folder of the sweep's training that is the same as this cell's, on the first seed. */
  sweep?: string;
}

/** Folder of a training of the sweep. */
export function sweepName(horizon: number, learningRate: number): string {
  return `sweep-${horizon}-${learningRate}`;
}

/** Facts that some cells depend on: found while the first ones ran. */
export interface Facts {
  /** Steps of a submodel, of the F-phase and of the baseline, by the demo's recipe. */
  submodelSteps: number;
  finetuneSteps: number;
  /** Total FLOPs of the DisCo way over those of one baseline step. */
  equalFlopsSteps: number;
  /** Number of the cluster with most tokens. */
  largestCluster: number;
  /** The best learning rate of each baseline horizon. */
  learningRate(horizon: number): number;
}

const TWO_EXPERTS = [
  'model.config.num_experts=2',
  'model.config.norm_topk_prob=false',
  'model.config.output_router_logits=false',
];

/** All cells of one seed, the demo's own way first. */
export function cellsOf(facts: Facts): Cell[] {
  const finetune = (
    name: string,
    what: string,
    overrides: string[],
    submodels = EXPERTS,
    after: string[] = [],
  ): Cell => ({
    name,
    what,
    overrides,
    submodels,
    model: 'finetuned',
    after,
  });
  const baseline = (name: string, what: string, steps: number, overrides: string[] = []): Cell => ({
    name,
    what,
    overrides: [
      `train.baseline.steps=${steps}`,
      `train.baseline.learningRate=${facts.learningRate(steps)}`,
      ...overrides,
    ],
    submodels: EXPERTS,
    model: 'baseline',
    after: [],
    sweep: sweepName(steps, facts.learningRate(steps)),
  });
  const long = facts.finetuneSteps;
  const oneBackbone = Array.from({ length: EXPERTS }, (_, k) => (k === facts.largestCluster ? 1 : 0)).join(
    ', ',
  );
  const whole = ['partition.method=whole'];
  const longest = BASELINE_HORIZONS.at(-1)!;
  return [
    finetune(`disco-${long}`, 'MoE-DisCo: 4 clusters, backbone averaged', []),
    baseline(`baseline-${longest}`, 'full-parameter baseline', longest),
    ...FINETUNE_HORIZONS.slice(0, -1).map((steps) =>
      finetune(
        `disco-${steps}`,
        'MoE-DisCo: 4 clusters, backbone averaged',
        [`train.finetune.steps=${steps}`],
        EXPERTS,
        [`disco-${long}`],
      ),
    ),
    ...BASELINE_HORIZONS.slice(0, -1).map((steps) =>
      baseline(`baseline-${steps}`, 'full-parameter baseline', steps),
    ),
    baseline('baseline-flops', "full-parameter baseline with MoE-DisCo's FLOPs", facts.equalFlopsSteps),
    finetune('one-backbone', 'MoE-DisCo, one backbone kept', [`merge.gamma=[${oneBackbone}]`], EXPERTS, [
      `disco-${long}`,
    ]),
    finetune('random', 'random partition (Figure 6)', ['partition.method=random']),
    finetune('dense-time', 'one dense submodel on everything, same S time, copied', whole, 1),
    finetune(
      'dense-money',
      'one dense submodel on everything, same S money, copied',
      [...whole, `train.submodels.steps=${EXPERTS * facts.submodelSteps}`],
      1,
    ),
    finetune('two-experts', 'MoE-DisCo, 2 experts (Figure 7)', TWO_EXPERTS, 2),
    baseline('two-experts-baseline', 'full-parameter baseline, 2 experts', longest, TWO_EXPERTS),
  ];
}

/** The stages of a cell, in order. */
export function stagesOf(cell: Cell): string[] {
  const common = ['corpus', 'partition', 'init'];
  if (cell.model === 'baseline') return [...common, 'baseline'];
  const submodels = Array.from({ length: cell.submodels }, (_, k) => `submodels/${k}`);
  return [...common, ...submodels, 'merged', 'finetuned'];
}

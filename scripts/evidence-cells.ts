/**
 * The cells of the evidence: each a run folder forked from the demo's, so that what they have in common is done
 * once. Horizons and rivals are those of docs/evidence.md.
 */

/** Baseline horizons, in steps; the last is the demo's, and its final loss the target. */
export const BASELINE_HORIZONS = [500, 1000, 2000];
/** The cell that the others are set against. */
export const REFERENCE = `baseline-${BASELINE_HORIZONS.at(-1)}`;
/** F-phase horizons; the last is the demo's. The rivals are compared at the first. */
export const FINETUNE_HORIZONS = [400, 800, 1600];
/** Learning rates tried for every baseline horizon, on the first seed. */
export const LEARNING_RATES = [7.5e-4, 1.5e-3, 3e-3];
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
  /** Steps of a submodel, by the demo's recipe. */
  submodelSteps: number;
  /** Total FLOPs of the DisCo way with the first F-phase horizon over those of one baseline step. */
  equalFlopsSteps: number;
  /** Number of the cluster with most tokens. */
  largestCluster: number;
  /** The best learning rate of each baseline horizon. */
  learningRate(horizon: number): number;
}

/** Horizon of the baseline with two experts; compared with that of four experts of the same horizon. */
export const TWO_EXPERTS_HORIZON = 1000;

const TWO_EXPERTS = [
  'model.config.num_experts=2',
  'model.config.norm_topk_prob=false',
  'model.config.output_router_logits=false',
];

/** All cells of one seed, the demo's own way first. */
export function cellsOf(facts: Facts): Cell[] {
  const [short = 0] = FINETUNE_HORIZONS;
  const finetune = (cell: Pick<Cell, 'name' | 'what'> & Partial<Cell>, steps = short): Cell => ({
    submodels: EXPERTS,
    model: 'finetuned',
    after: [],
    ...cell,
    overrides: [`train.finetune.steps=${steps}`, ...(cell.overrides ?? [])],
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
  const oneBackbone = Array.from({ length: EXPERTS }, (_, k) => (k === facts.largestCluster ? 1 : 0)).join(
    ', ',
  );
  const whole = 'partition.method=whole';
  // The cell that trains the submodels: the others of the same partition take them over.
  const first = `disco-${short}`;
  return [
    ...FINETUNE_HORIZONS.map((steps) => {
      const name = `disco-${steps}`;
      const after = name === first ? [] : [first];
      return finetune({ name, what: 'MoE-DisCo: 4 clusters, backbone averaged', after }, steps);
    }),
    ...[...BASELINE_HORIZONS]
      .reverse()
      .map((steps) => baseline(`baseline-${steps}`, 'full-parameter baseline', steps)),
    finetune({
      name: 'dense-time',
      what: 'one dense submodel on everything, same S time, copied',
      overrides: [whole],
      submodels: 1,
    }),
    finetune({
      name: 'dense-money',
      what: 'one dense submodel on everything, same S money, copied',
      overrides: [whole, `train.submodels.steps=${EXPERTS * facts.submodelSteps}`],
      submodels: 1,
    }),
    finetune({
      name: 'one-backbone',
      what: 'MoE-DisCo, backbone of the largest cluster kept',
      overrides: [`merge.gamma=[${oneBackbone}]`],
      after: [first],
    }),
    finetune({ name: 'random', what: 'random partition (Figure 6)', overrides: ['partition.method=random'] }),
    baseline('baseline-flops', `full-parameter baseline, FLOPs of \`${first}\``, facts.equalFlopsSteps),
    finetune({
      name: 'two-experts',
      what: 'MoE-DisCo, 2 experts (Figure 7)',
      overrides: TWO_EXPERTS,
      submodels: 2,
    }),
    baseline('two-experts-baseline', 'full-parameter baseline, 2 experts', TWO_EXPERTS_HORIZON, TWO_EXPERTS),
  ];
}

/** The stages of a cell, in order. */
export function stagesOf(cell: Cell): string[] {
  const common = ['corpus', 'partition', 'init'];
  if (cell.model === 'baseline') return [...common, 'baseline'];
  const submodels = Array.from({ length: cell.submodels }, (_, k) => `submodels/${k}`);
  return [...common, ...submodels, 'merged', 'finetuned'];
}

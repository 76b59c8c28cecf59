/** What the numbers say, in plain sentences, and what they do not say. */
import { FEWEST_DOCUMENTS, type Interval } from './bootstrap.js';
import type { Comparison } from './comparison.js';
import { count, large, money, nats, perplexity, signed, significant, time } from './words.js';

type Facts = Omit<Comparison, 'verdict' | 'leavesOut'>;

/** -1 where the first model is better beyond the interval, 1 where the second is, 0 where it cannot be told. */
function better({ low, high, documents }: Interval): -1 | 0 | 1 {
  if (documents < FEWEST_DOCUMENTS) return 0;
  if (high < 0) return -1;
  return low > 0 ? 1 : 0;
}

/** An interval as text: `+0.012 nat (95 % interval -0.004 to +0.028 over 60 documents)`. */
export function intervalText({ difference, low, high, level, documents }: Interval): string {
  if (documents < FEWEST_DOCUMENTS) {
    return `${signed(difference)} nat (${documents} documents are too few for an interval)`;
  }
  return `${signed(difference)} nat (${Math.round(100 * level)} % interval ${signed(low)} to ${signed(high)} over ${documents} documents)`;
}

function quality({ test }: Facts): string {
  const { finetuned, baseline, difference } = test;
  const numbers =
    `${nats(finetuned.loss)} nat (perplexity ${perplexity(finetuned.perplexity)}) against the baseline's ` +
    `${nats(baseline.loss)} (${perplexity(baseline.perplexity)}), a difference of ${intervalText(difference)}`;
  const side = better(difference);
  if (side === 0) return `On the test split no difference can be told: the MoE-DisCo model has ${numbers}.`;
  const word = side < 0 ? 'lower' : 'higher';
  return `On the test split the MoE-DisCo model has the ${word} loss: ${numbers}.`;
}

function steps({ targets, finetuneSteps, baselineSteps }: Pick<Facts, 'targets'> & Horizons): string {
  const row = targets.validation[0];
  if (row === undefined) return 'No held-out loss was recorded, so steps to a target cannot be given.';
  const { finetune, baseline } = row;
  const target = `the baseline's final validation loss (${nats(finetune.target)})`;
  if (finetune.steps === null) {
    const lowest = finetune.lowest === null ? '' : `; its lowest was ${nats(finetune.lowest)}`;
    return `Fine-tuning did not reach ${target} in its ${count(finetuneSteps)} steps${lowest}.`;
  }
  const own =
    baseline.steps === null
      ? ''
      : `; by the same rule the baseline itself was there after ${count(baseline.steps)} of ${count(baselineSteps)}`;
  return `Fine-tuning reached ${target} after ${count(finetune.steps)} of its ${count(finetuneSteps)} steps${own}.`;
}

interface Horizons {
  finetuneSteps: number;
  baselineSteps: number;
}

function price({ measured }: Facts): string {
  const { disco, fullParameter } = measured;
  const ratio = (key: 'tokens' | 'flops' | 'dollars') =>
    `${significant(disco[key] / fullParameter[key], 3)} times`;
  return (
    `In all, partition, ${measured.seed === undefined ? '' : 'seed phase, '}submodels, merge and fine-tuning took ${large(disco.flops)}FLOP, ${time(disco.seconds)} and ` +
    `${money(disco.dollars)} on this machine; full-parameter training took ${large(fullParameter.flops)}FLOP, ` +
    `${time(fullParameter.seconds)} and ${money(fullParameter.dollars)}: the MoE-DisCo way used ${ratio('tokens')} the tokens, ` +
    `${ratio('flops')} the FLOPs and ${ratio('dollars')} the money.`
  );
}

function conclusion({ measured, test }: Facts): string {
  const side = better(test.difference);
  const { disco, fullParameter } = measured;
  const cheaper = disco.dollars < fullParameter.dollars;
  const paid =
    `${significant(disco.dollars / fullParameter.dollars, 3)} times the money ` +
    `(${money(disco.dollars)} against ${money(fullParameter.dollars)} in all)`;
  if (side === 0) {
    return cheaper
      ? `At this size the MoE-DisCo way gives as good a model for ${paid}: it wins.`
      : `At this size both ways give as good a model, MoE-DisCo for ${paid}: full-parameter training wins.`;
  }
  if (side < 0) {
    return cheaper
      ? `At this size the MoE-DisCo way wins: the better model for ${paid}.`
      : `At this size the MoE-DisCo way gives the better model for ${paid}; the baseline was not given as much.`;
  }
  return cheaper
    ? `At this size the MoE-DisCo way gives the worse model for ${paid}; what the baseline has for as little was not run.`
    : `At this size full-parameter training wins: MoE-DisCo gives the worse model for ${paid}.`;
}

/** Whether a model is above the bigram model, and that in a sentence. */
function bigram({ bigram: rival, validation }: Facts): { above: boolean; text: string } {
  const above = ['finetuned', 'baseline'].filter((name) =>
    validation.some(({ model, loss }) => model === name && loss >= rival.loss),
  );
  if (above.length === 0) {
    const text = `Both models are below the interpolated bigram model counted on the same training tokens (${nats(rival.loss)}).`;
    return { above: false, text };
  }
  const names = above.map((name) => (name === 'finetuned' ? 'the fine-tuned model' : 'the baseline'));
  const text =
    `Not below the interpolated bigram model counted on the same training tokens (${nats(rival.loss)}): ` +
    `${names.join(' and ')}. Nothing follows from losses as high as that.`;
  return { above: true, text };
}

/** The comparison in sentences: conclusion, quality, steps, total cost, and whether the models learnt anything. */
export function verdict(facts: Facts): string[] {
  const horizons = {
    finetuneSteps: facts.measured.finetune.steps,
    baselineSteps: facts.measured.fullParameter.steps,
  };
  const sentences = [
    conclusion(facts),
    quality(facts),
    steps({ targets: facts.targets, ...horizons }),
    price(facts),
  ];
  const { above, text } = bigram(facts);
  return above ? [text, ...sentences] : [...sentences, text];
}

/** The rivals and repetitions that this comparison lacks. */
export function leftOut({ setup, measured }: Facts): string[] {
  const list = [
    'Seeds: one run with one seed. The interval is over documents, not over trainings.',
    'Horizons: one for each way. Other lengths of the S-phase, F-phase and baseline were not tried, and trials that ' +
      'chose learning rates are not billed.',
    setup.partition === 'whole'
      ? 'Submodels on clusters, which the one on everything here is the rival of.'
      : 'One dense submodel trained on all data for the same money, or for the same wall-clock time, its expert ' +
        `copied ${setup.experts} times: the rival most likely to win.`,
    setup.partition === 'kmeans'
      ? 'The random partition with the same tokens per submodel.'
      : 'The k-means partition: compare with the run that has it.',
    "One submodel's backbone kept instead of the average.",
    'Full-parameter training on a cheap card: only projected.',
    'The baseline with the total FLOPs of the MoE-DisCo way.',
  ];
  if (measured.seed !== undefined) {
    list.push(
      'A baseline that goes on from the seed phase: here it starts from the initial weights, as whoever knows nothing ' +
        'of this method does, and the seed phase is billed to the MoE-DisCo way.',
    );
  }
  if (setup.start !== 'scratch') {
    list.push('What training the model that both ways start from has cost.');
  }
  if (setup.devices.length > 1) {
    list.push(
      `Trainings ran on several devices (${setup.devices.join(', ')}); their seconds are added up and billed at one ` +
        `rate of ${money(measured.dollarsPerHour)} an hour.`,
    );
  }
  return list;
}

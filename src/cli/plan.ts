/** `plan RECIPE`: what it takes on the devices that the user has, and all ways to spend them. */
import { join } from 'node:path';
import { type Command, Option } from '@commander-js/extra-typings';
import { readDevices, readInventory, type Stock } from '../cost/devices.js';
import { planRecipe } from '../cost/plan.js';
import { RequestError } from '../errors.js';
import { PACKAGE_ROOT, recipeFile } from '../launch/shipped.js';
import { hasSeedPhase, submodelCount } from '../recipe/check.js';
import { loadRecipe } from '../recipe/load.js';
import type { Card, Recipe } from '../recipe/schema.js';
import { toText } from '../report/layout.js';
import { planDevices, planSections } from '../report/ways.js';
import { overridesArgument } from './arguments.js';

/** Without an inventory: the recipe's two cards, as many of the cheap one as there are experts. */
function cardsOf(recipe: Recipe): Stock[] {
  const stock = (card: Card, count: number): Stock => {
    const reached = card.peakTflops * card.utilization;
    return {
      name: card.name,
      count,
      dollarsPerHour: card.dollarsPerHour,
      memoryGB: card.memoryGB,
      tflops: { bfloat16: reached, float32: reached },
      speed: `peak at ${Math.round(100 * card.utilization)} %`,
    };
  };
  return [stock(recipe.cost.cheapCard, submodelCount(recipe)), stock(recipe.cost.largeCard, 1)];
}

function limit(option: string): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value;
    throw new RequestError('Not a number above 0.', {
      key: option,
      expected: 'a number above 0',
      found: text,
    });
  };
}

/** Adds the command. */
export function addPlan(program: Command): void {
  program
    .command('plan')
    .summary('what a recipe takes on your devices: what fits, hours, dollars, all ways')
    .description(
      'For each training and each device: whether it fits, hours, dollars. Then all ways that the devices allow: ' +
        'full-parameter training, MoE-DisCo, one dense submodel copied; the cheapest, the fastest, and the price ratio ' +
        'at which both ways cost the same. A projection from peaks and a stated utilization, or from what you measured.',
    )
    .argument('<recipe>', 'a recipe file, or the name of a shipped one')
    .addArgument(overridesArgument())
    .option('--inventory <file>', "your devices (YAML); otherwise the recipe's two cards")
    .addOption(
      new Option('--deadline <hours>', 'the cheapest way within so many hours').argParser(
        limit('--deadline'),
      ),
    )
    .addOption(
      new Option('--budget <dollars>', 'the fastest way for so many dollars').argParser(limit('--budget')),
    )
    .option('--json', 'as JSON, for scripts')
    .action((name, overrides, { inventory, deadline, budget, json }) => {
      const { recipe } = loadRecipe(recipeFile(name), overrides, { files: 'ignore' });
      const { config, steps } = planRecipe(recipe);
      if (steps.submodel === null) {
        throw new RequestError(
          'The length of the submodels is given in epochs and depends on the clusters.',
          {
            key: 'train.submodels.epochs',
            hint: `plan with a number of steps: moe-disco plan ${name} train.submodels.epochs=null train.submodels.steps=N`,
          },
        );
      }
      const work = {
        config,
        precision: recipe.train.precision,
        batchSize: recipe.train.batchSize,
        sequenceLength: recipe.corpus.sequenceLength,
        ...(hasSeedPhase(recipe) ? { seed: recipe.train.seed } : {}),
        submodelSteps: new Array<number>(submodelCount(recipe)).fill(steps.submodel),
        finetuneSteps: steps.finetune,
        baselineSteps: steps.baseline,
      };
      const stock =
        inventory === undefined
          ? cardsOf(recipe)
          : readInventory(inventory, readDevices(join(PACKAGE_ROOT, 'data', 'prices.yaml')));
      const limits = { deadlineHours: deadline ?? null, budgetDollars: budget ?? null };
      const plan = planDevices(work, stock, limits);
      process.stdout.write(
        json === true
          ? `${JSON.stringify(plan)}\n`
          : toText(planSections(plan, limits), process.stdout.isTTY === true),
      );
    });
}

/** `demo`: the main job on WikiText-2, with what ships in the package. */
import type { Command } from '@commander-js/extra-typings';
import { runRecipe } from '../launch/local.js';
import { withSession } from '../launch/session.js';
import { printComparison } from './comparison.js';

const INTRODUCTION = `MoE-DisCo trains a Mixture-of-Experts language model from text, in parts that cheap machines can do alone:
the text is grouped into clusters, each cluster trains a small dense model of its own, these are merged into
one model with several experts, and that is fine-tuned briefly on everything. Beside it the same model is
trained in the usual way, and at the end both are compared. Text: WikiText-2. Stop at any time with Ctrl-C;
the same command goes on from there.
`;

/** Adds the command. */
export function addDemo(program: Command): void {
  program
    .command('demo')
    .summary('train a small model on WikiText-2 both ways and compare them: minutes, on a CPU, offline')
    .description(
      'Sets up what is missing, then runs recipes/demo.yaml into runs/demo. Run again, it goes on or shows the result.',
    )
    .action(() =>
      withSession(async (session) => {
        session.reporter.say(INTRODUCTION);
        const { folder } = await runRecipe({ recipe: 'demo' }, session);
        session.reporter.close();
        await printComparison([folder]);
      }),
    );
}

/** The last stage: comparison.json and report.md. */
import { writeFileAtomic, writeJson } from '../formats/atomic.js';
import type { StageRun } from '../run/context.js';
import type { Done } from '../run/done.js';
import { runStage } from '../run/stage.js';
import { collect, comparisonInputs } from './collect.js';
import { compare } from './comparison.js';
import { toMarkdown } from './layout.js';
import { sections } from './sections.js';

/**
 * Compares the two ways of a run and writes comparison/comparison.json and comparison/report.md.
 * @throws RequestError when an earlier stage is not finished
 */
export function compareRun({ run, recipe, reporter }: StageRun): Promise<Done> {
  const request = {
    run,
    stage: 'comparison',
    reads: { cost: recipe.cost },
    inputs: comparisonInputs(run, recipe),
    command: `moe-disco compare ${run.root}`,
    say: (text: string) => reporter.say(text),
  };
  return runStage(request, async ({ path, assertOwned }) => {
    const comparison = compare(collect(run, recipe));
    const report = toMarkdown(
      `${comparison.run}: MoE-DisCo and full-parameter training`,
      sections(comparison),
    );
    const json = writeJson(path('comparison.json'), comparison, assertOwned);
    const markdown = writeFileAtomic(path('report.md'), report, assertOwned);
    const { measured, test, verdict } = comparison;
    return {
      outputs: [json, markdown],
      hashes: { comparison: json.sha256 },
      summary: {
        verdict,
        finetunedTestLoss: test.finetuned.loss,
        baselineTestLoss: test.baseline.loss,
        discoDollars: measured.disco.dollars,
        baselineDollars: measured.fullParameter.dollars,
      },
    };
  });
}

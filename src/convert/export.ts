/** `export`: a finished stage of a run as a folder for others, with tokenizer, recipe, data and parents stated. */
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { RequestError } from '../errors.js';
import { openModelFolder } from '../model/model-folder.js';
import type { Recipe } from '../recipe/schema.js';
import type { Done } from '../run/done.js';
import type { RunFolder } from '../run/folder.js';
import { readManifest } from '../run/manifest.js';
import { requireDone, requireFiles } from '../run/require.js';
import { trainingSummaryOf } from '../train/summary.js';
import { companionsOf } from './companions.js';
import { type Format, rewriteFolder } from './convert.js';
import { folderName, type Parent } from './parents.js';
import type { Surroundings } from './work.js';

/** What to export. */
export interface ExportRequest extends Format {
  run: RunFolder;
  recipe: Recipe;
  /** A stage whose result is a model: finetuned, merged, baseline, submodels/K. */
  stage: string;
  into: string;
  command: string;
}

/**
 * Writes the model of a finished stage into a new folder.
 * @throws RequestError for a stage that has no model or is not finished, and where something is at `into`
 */
export async function exportStage(request: ExportRequest, surroundings: Surroundings): Promise<void> {
  const { run, stage, into, command } = request;
  if (!/^(seed|merged|finetuned|baseline|submodels\/\d+)$/.test(stage)) {
    throw new RequestError('This stage does not end with a model.', {
      key: '--stage',
      expected: 'finetuned, merged, baseline, seed or submodels/K',
      found: stage,
    });
  }
  const done = requireDone(run, stage);
  requireFiles(run, stage);
  const source = openModelFolder(run.stageFolder(stage));
  try {
    const { bytes } = await rewriteFolder(source, request, 'export', surroundings, () => ({
      companions: companionsOf(run.stage('corpus').folder, source.config),
      card: {
        title: folderName(into),
        command,
        description: describe(stage, done),
        sections: [
          ['Data', dataOf(request)],
          ['Recipe', `\`\`\`yaml\n${readFileSync(run.recipeFile, 'utf8').trimEnd()}\n\`\`\``],
        ],
        parents: lineage(run, stage),
        versions: readManifest(run.stageFolder(stage))?.attempts.at(-1)?.versions ?? {},
      },
    }));
    surroundings.reporter.say(`${into}: ${stage} of ${run.root}, ${(bytes / 1e9).toFixed(2)} GB`);
  } finally {
    source.weights.close();
  }
}

const WHAT: readonly [RegExp, string][] = [
  [/^submodels/, 'A submodel: the backbone and one expert, trained on one cluster of the corpus alone.'],
  [/^merged/, 'The submodels merged, not fine-tuned: experts side by side, backbones averaged.'],
  [
    /^finetuned/,
    'Submodels that were trained apart, merged, then fine-tuned briefly on the whole corpus (MoE-DisCo, arXiv 2601.06857).',
  ],
  [/^baseline/, 'Trained in the usual way, all parameters on the whole corpus.'],
  [/^seed/, 'The model before it was split into submodels.'],
];

function describe(stage: string, done: Done): string {
  const what = WHAT.find(([pattern]) => pattern.test(stage))![1];
  if (stage === 'merged') return what;
  const { steps, tokens, heldOutLoss } = trainingSummaryOf(done);
  const whole = (count: number) => count.toLocaleString('en-US');
  const loss = heldOutLoss === null ? '' : `; held-out loss ${heldOutLoss.toFixed(4)} nat a token`;
  return `${what} Last training: ${whole(steps)} steps, ${whole(tokens)} tokens${loss}.`;
}

function dataOf({ run, recipe }: ExportRequest): string {
  const { train, validation, test } = recipe.corpus;
  const name = (source: typeof validation) =>
    source === null ? 'a share of the training documents' : JSON.stringify(source);
  const hashes = Object.entries(requireDone(run, 'corpus').hashes).map(
    ([what, hash]) => `- ${what}: \`${hash}\``,
  );
  return [
    `Training text: ${JSON.stringify(train)}; validation: ${name(validation)}; test: ${name(test)}.`,
    'SHA-256 of what was made of them:',
    '',
    ...hashes,
  ].join('\n');
}

/** The stage, and before it those that it was made from, each with its files of weights as recorded. */
function lineage(run: RunFolder, stage: string): Parent[] {
  const done = requireDone(run, stage);
  const before =
    stage === 'finetuned'
      ? ['merged']
      : Object.keys(done.inputs).filter((name) => /^submodels\/\d+$/.test(name));
  const files = done.outputs.filter(({ name }) => name.endsWith('.safetensors'));
  const own: Parent = { name: join(basename(run.root), stage), files };
  return [own, ...before.flatMap((name) => lineage(run, name))];
}

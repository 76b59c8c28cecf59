/** `inspect FOLDER`: what a model folder is and weighs. */
import type { Command } from '@commander-js/extra-typings';
import { type Inspection, inspectFolder } from '../convert/inspect.js';
import { rows, size, whole } from './plan-text.js';

function kindText({ kind, family, origin, experts, expertsPerToken }: Inspection): string {
  if (kind === 'whole') return `${family}, ${experts} experts, top-${expertsPerToken}`;
  const what = kind === 'dense' ? `${family}, dense` : `${family} with one expert`;
  if (origin === null) return what;
  return `${what}; expert ${origin.expert} of ${origin.experts} of ${origin.parent}`;
}

/** What `inspect` prints without --json. */
function inspectionText(found: Inspection): string {
  const { parameters, weights, submodel, tokenizer } = found;
  const percent = (count: number) => `${((100 * count) / parameters.total).toFixed(1)} %`;
  const parts = Object.entries(parameters.parts).map(
    ([name, count]) => [`  ${name}`, `${whole(count)} (${percent(count)})`] as const,
  );
  const active =
    parameters.active === parameters.total ? '' : `, ${whole(parameters.active)} active for a token`;
  const types = Object.entries(weights?.bytesByType ?? {}).map(([type, bytes]) => `${type} ${size(bytes)}`);
  const files = weights === null ? 0 : weights.files.length;
  return `${[
    found.folder,
    '',
    ...rows([
      ['model', kindText(found)],
      [
        'shape',
        `${found.layers} layers, hidden ${found.hiddenSize}, expert width ${found.expertWidth}, vocabulary ${whole(found.vocabulary)}`,
      ],
      ['parameters', `${whole(parameters.total)}${active}`],
      ...parts,
      [
        'weights',
        weights === null
          ? 'none here: the figures follow from config.json'
          : `${size(weights.bytes)} (${types.join(', ')}) in ${files} ${files === 1 ? 'file' : 'files'}, ${weights.tensors} tensors, experts ${weights.layout === 'fused' ? 'fused' : 'one by one'}`,
      ],
      ...(submodel === null
        ? []
        : [
            [
              'a submodel',
              `${submodel.family}, ${whole(submodel.parameters)} parameters${submodel.bytes === null ? '' : `, ${size(submodel.bytes)}`}`,
            ] as const,
          ]),
      ['tokenizer', tokenizer.length === 0 ? 'none' : tokenizer.join(', ')],
    ]),
  ].join('\n')}\n`;
}

/** Adds the command. */
export function addInspect(program: Command): void {
  program
    .command('inspect')
    .summary('say what a model folder is: family, parameters, bytes, experts')
    .description(
      'Reads config.json and the headers of the weights, compares them, and says what the model is, what it weighs and ' +
        'what a submodel of it would weigh. With config.json alone it says what follows from that.',
    )
    .argument('<folder>', 'a Hugging Face folder')
    .option('--json', 'print JSON')
    .action((folder, { json }) => {
      const found = inspectFolder(folder);
      process.stdout.write(json === true ? `${JSON.stringify(found, null, 2)}\n` : inspectionText(found));
    });
}

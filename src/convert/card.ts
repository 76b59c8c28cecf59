/**
 * The model card of a written folder, README.md: what it is, how it was made, from what, with which versions. The
 * licence is left to whoever publishes it.
 */
import type { ModelConfig } from '../model/config.js';
import { countParameters } from '../model/parameters.js';
import type { Parent } from './parents.js';

/** What a card states. */
export interface Card {
  /** Name of the folder. */
  title: string;
  config: ModelConfig;
  /** The command that wrote it. */
  command: string;
  /** What the weights are, in a sentence or more. */
  description: string;
  parents: readonly Parent[];
  /** Titles and Markdown of what else there is to say: recipe, data, merge. */
  sections?: readonly (readonly [title: string, text: string])[];
  versions: Readonly<Record<string, string>>;
}

const whole = (count: number) => count.toLocaleString('en-US');

function shapeOf(config: ModelConfig): string {
  const { total, active } = countParameters(config);
  const { modelType, numExperts, numExpertsPerTok, router } = config;
  if (router === 'none') return `A dense \`${modelType}\` language model of ${whole(total)} parameters.`;
  const experts =
    numExperts === 1 ? 'one expert a layer' : `${numExperts} experts a layer, top-${numExpertsPerTok}`;
  return `A \`${modelType}\` language model of ${whole(total)} parameters, ${whole(active)} active for a token: ${experts}.`;
}

function parentLines(parents: readonly Parent[]): string[] {
  if (parents.length === 0) return [];
  const rows = parents.flatMap(({ name, files }) =>
    files.map((file) => `| ${cell(name)} | ${cell(file.name)} | ${whole(file.size)} | \`${file.sha256}\` |`),
  );
  return ['## Parents', '', '| folder | file | bytes | SHA-256 |', '|---|---|---:|---|', ...rows, ''];
}

const cell = (text: string) => text.replace(/[|\r\n]/g, ' ');

/** The text of the card. */
export function cardText(card: Card): string {
  const versions = Object.entries(card.versions).map(([name, version]) => `${name} ${version}`);
  const sections = (card.sections ?? []).flatMap(([title, text]) => [`## ${title}`, '', text.trimEnd(), '']);
  return [
    '---',
    'library_name: transformers',
    'pipeline_tag: text-generation',
    `tags: [${card.config.router === 'none' ? '' : 'moe, '}moe-disco]`,
    '---',
    `# ${card.title}`,
    '',
    shapeOf(card.config),
    card.description,
    '',
    'Written by',
    '',
    '```sh',
    card.command,
    '```',
    '',
    ...sections,
    ...parentLines(card.parents),
    '## Versions',
    '',
    `${versions.join(', ')}.`,
    '',
    '## Licence',
    '',
    'None is stated here. Whoever publishes this model chooses one, within the terms of its parents and of its data.',
    '',
  ].join('\n');
}

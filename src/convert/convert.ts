/** `convert`: a folder in another type, layout or size of shards. */
import { makeFolder } from '../formats/new-folder.js';
import type { TargetType } from '../formats/round.js';
import { type ExpertLayout, type ModelFolder, openModelFolder } from '../model/model-folder.js';
import { companionsOf } from './companions.js';
import { type Model, writeModel } from './model-writer.js';
import { folderName, hashParents } from './parents.js';
import { bytesOf, folderSources } from './tensors.js';
import { type Surroundings, Work } from './work.js';

/** How a folder shall be written. */
export interface Format {
  /** Left out: every tensor keeps its type. */
  dtype?: TargetType;
  layout?: ExpertLayout;
  /** Bytes of tensors per shard; a larger tensor has a shard of its own. */
  maxShardBytes?: number;
}

/**
 * Writes `folder` anew into `into`.
 * @throws DataError for a folder that is not a whole model, RequestError where something is at `into`
 */
export async function convertFolder(
  folder: string,
  request: Format & { into: string; command: string },
  surroundings: Surroundings,
): Promise<void> {
  const source = openModelFolder(folder);
  try {
    const { into, command, dtype } = request;
    const { tensors, bytes } = await rewriteFolder(source, request, 'convert', surroundings, () => ({
      companions: companionsOf(source.folder, source.config),
      card: {
        title: folderName(into),
        command,
        description:
          dtype === undefined
            ? 'The numbers are those of its parent, bit for bit.'
            : `The numbers are those of its parent, rounded to ${dtype}.`,
        parents: hashParents([{ name: folderName(source.folder), files: source.weights.files }]),
      },
    }));
    surroundings.reporter.say(`${into}: ${tensors} tensors, ${(bytes / 1e9).toFixed(2)} GB`);
  } finally {
    source.weights.close();
  }
}

/**
 * Writes the weights of an open folder into a new one, in another format where that is asked for.
 *
 * @param what the command, for messages
 * @param about what stands beside the weights; called when the new folder is being made
 * @returns how many tensors and bytes of them were written
 * @throws RequestError where something is at `into`, EnvironmentError where the disk has no room
 */
export async function rewriteFolder(
  source: ModelFolder,
  { into, dtype, layout, maxShardBytes }: Format & { into: string },
  what: string,
  surroundings: Surroundings,
  about: () => Pick<Model, 'companions' | 'card'>,
): Promise<{ tensors: number; bytes: number }> {
  const work = new Work(what, surroundings);
  const format = { ...(dtype === undefined ? {} : { dtype }), ...(layout === undefined ? {} : { layout }) };
  const tensors = folderSources(source, format, work);
  const bytes = bytesOf(tensors);
  work.expect(bytes);
  const { config } = source;
  const shards = maxShardBytes === undefined ? {} : { maxShardBytes };
  const write = (making: string) => writeModel(making, { config, tensors, ...about(), ...shards });
  await makeFolder(into, bytes, write, surroundings.reporter.say);
  return { tensors: tensors.length, bytes };
}

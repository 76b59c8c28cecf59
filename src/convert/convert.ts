/** `convert`: a folder in another type, layout or size of shards. */
import { makeFolder } from '../formats/new-folder.js';
import type { TargetType } from '../formats/round.js';
import { type ExpertLayout, type ModelFolder, openModelFolder } from '../model/model-folder.js';
import { companionsOf } from './companions.js';
import { writeModel } from './model-writer.js';
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
    await writeConverted(source, request, surroundings);
  } finally {
    source.weights.close();
  }
}

async function writeConverted(
  source: ModelFolder,
  { into, command, maxShardBytes, ...format }: Format & { into: string; command: string },
  surroundings: Surroundings,
): Promise<void> {
  const work = new Work('convert', surroundings);
  const tensors = folderSources(source, format, work);
  const bytes = bytesOf(tensors);
  work.expect(bytes);
  await makeFolder(
    into,
    bytes,
    async (making) => {
      await writeModel(making, {
        config: source.config,
        tensors,
        companions: companionsOf(source.folder, source.config),
        card: {
          title: folderName(into),
          command,
          description:
            format.dtype === undefined
              ? 'The numbers are those of its parent, bit for bit.'
              : `The numbers are those of its parent, rounded to ${format.dtype}.`,
          parents: hashParents([{ name: folderName(source.folder), files: source.weights.files }]),
        },
        ...(maxShardBytes === undefined ? {} : { maxShardBytes }),
      });
    },
    surroundings.reporter.say,
  );
  surroundings.reporter.say(`${into}: ${tensors.length} tensors, ${(bytes / 1e9).toFixed(2)} GB`);
}

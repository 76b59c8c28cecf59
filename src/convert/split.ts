/**
 * `split`: a model's submodels, theta_shared and one theta_k each, every tensor bit for bit. Each folder says of what it
 * is a part and carries what only the whole model has, so that the merge needs nothing else.
 */
import { join } from 'node:path';
import { RequestError } from '../errors.js';
import { writeJson } from '../formats/atomic.js';
import { makeFolder } from '../formats/new-folder.js';
import { type TensorSource, writeSafetensors } from '../formats/safetensors.js';
import { type ModelConfig, submodelConfig, toHuggingFaceConfig } from '../model/config.js';
import { allParameters, type ModelFolder, openModelFolder } from '../model/model-folder.js';
import type { Parameter } from '../model/parameters.js';
import { companionsOf } from './companions.js';
import { mainType, writeModel } from './model-writer.js';
import { ORIGIN_FILE, originOf, ROUTER_FILE } from './origin.js';
import { folderName, hashParents } from './parents.js';
import { bytesOf, copySource } from './tensors.js';
import { type Surroundings, Work } from './work.js';

/** What to split, and into what. */
export interface SplitRequest {
  /** The folder of the submodels' folders, named by their numbers. */
  into: string;
  command: string;
  maxShardBytes?: number;
}

/**
 * Writes submodels 0 to E - 1 of `folder` into the folders of these names in `into`.
 * @throws DataError for a folder that is not a whole model, RequestError for one with a single expert
 */
export async function splitFolder(
  folder: string,
  { into, command, maxShardBytes }: SplitRequest,
  surroundings: Surroundings,
): Promise<void> {
  const source = openModelFolder(folder);
  try {
    const { config } = source;
    if (config.numExperts === 1) {
      throw new RequestError('A model with one expert has no submodels.', {
        file: join(folder, 'config.json'),
        expected: 'a Mixture of Experts',
        found: config.router === 'none' ? `a dense ${config.modelType}` : 'one expert',
      });
    }
    const work = new Work('split', surroundings);
    const parts = Array.from({ length: config.numExperts }, (_, k) => submodelSources(source, k, work));
    const bytes = parts.reduce((sum, tensors) => sum + bytesOf(tensors), 0);
    work.expect(bytes);
    await makeFolder(
      into,
      bytes,
      async (making) => {
        const parents = hashParents([{ name: folderName(folder), files: source.weights.files }]);
        for (const [k, tensors] of parts.entries()) {
          const place = join(making, String(k));
          await writeModel(place, {
            config: submodelConfig(config),
            tensors,
            companions: companionsOf(folder, submodelConfig(config)),
            card: {
              title: `${folderName(into)}/${k}`,
              command,
              description: `Submodel ${k} of ${config.numExperts}: what all experts of its parent share, and expert ${k}, bit for bit.`,
              parents,
            },
            ...(maxShardBytes === undefined ? {} : { maxShardBytes }),
          });
          const routers = allParameters(config).filter(({ role }) => role === 'router');
          await writeSafetensors(
            join(place, ROUTER_FILE),
            routers.map(({ name }) => copySource(source.weights, name, work)),
          );
          writeJson(
            join(place, ORIGIN_FILE),
            originOf({
              expert: k,
              experts: config.numExperts,
              parent: (await parents)[0]!,
              config: toHuggingFaceConfig(config, mainType(tensors)),
            }),
          );
        }
      },
      surroundings.reporter.say,
    );
    const each = (bytes / config.numExperts / 1e9).toFixed(2);
    surroundings.reporter.say(`${into}: ${config.numExperts} submodels of ${each} GB`);
  } finally {
    source.weights.close();
  }
}

/** The tensors of submodel k: the backbone, expert k, and its rows of the router where it keeps any. */
function submodelSources({ config, weights }: ModelFolder, k: number, work: Work): TensorSource[] {
  const whole = new Map(allParameters(config).map((parameter) => [keyOf(parameter), parameter]));
  return allParameters(submodelConfig(config)).map((parameter) => {
    const expert = parameter.role === 'expert' ? k : parameter.expert;
    const from = whole.get(keyOf({ ...parameter, expert }))!;
    if (parameter.role !== 'router') return copySource(weights, from.name, work, parameter.name);
    return rowSource(config, weights, from, parameter, k);
  });
}

/** What a parameter is, whatever its family calls it. */
function keyOf({ part, expert }: Pick<Parameter, 'part' | 'expert'>): string {
  return `${part} ${expert ?? ''}`;
}

/**
 * Row k of a router's tensor. A tensor from logits to logits [E, E] has [1, 1] in a submodel, which computes nothing:
 * element (k, k) stands there.
 */
function rowSource(
  { numExperts }: ModelConfig,
  weights: ModelFolder['weights'],
  from: Parameter,
  { name, shape }: Parameter,
  k: number,
): TensorSource {
  const { dtype, bytes } = weights.info(from.name);
  const row = bytes / numExperts;
  const square = shape[1] !== from.shape[1];
  const [offset, length] = square ? [k * row + (k * row) / numExperts, row / numExperts] : [k * row, row];
  return {
    name,
    dtype,
    shape: [...shape],
    write: (sink) => sink(weights.read(from.name, undefined, offset, length)),
  };
}

/** `merge FOLDER... --into DIR`: the merge of submodels that lie in plain folders, outside any run. */
import { join } from 'node:path';
import { companionsOf } from '../convert/companions.js';
import { writeModel } from '../convert/model-writer.js';
import { folderName, hashParents } from '../convert/parents.js';
import { bytesOf } from '../convert/tensors.js';
import { type Surroundings, Work } from '../convert/work.js';
import { RequestError } from '../errors.js';
import { writeJson } from '../formats/atomic.js';
import { makeFolder } from '../formats/new-folder.js';
import * as torch from '../torch/index.js';
import { trainingSummaryOf } from '../train/summary.js';
import { driftWarning, relativeDrift } from './average.js';
import { backboneWeights, type GammaRequest, type SubmodelWork } from './gamma.js';
import { type Member, type Members, openMembers } from './members.js';
import { mergeReportSchema } from './report.js';
import { planMerge } from './sources.js';
import { openFolderStart } from './start.js';
import { verifyMerge } from './verify.js';

/** What to merge, and how: the options are those of the recipe's `merge`. */
export interface FolderMerge {
  /** Submodels 0, 1, ... in this order, or one that stands for all. */
  folders: readonly string[];
  into: string;
  command: string;
  gamma: GammaRequest['mode'];
  /** For wpsgd: lambda * eta. */
  lambdaEta?: number;
  average: 'plain' | 'radial';
  /** The model that the submodels were made from. */
  original?: string;
  maxShardBytes?: number;
}

/**
 * Merges the folders into a new one, with merge.json beside the weights.
 *
 * @throws RequestError and DataError for folders that do not belong together or do not fit, and where something is at
 * `into`
 */
export async function mergeFolders(request: FolderMerge, surroundings: Surroundings): Promise<void> {
  const { folders, into, average } = request;
  const opened = openMembers(folders, request.original);
  try {
    const gamma = weightsOf(opened.members, request);
    const start = openFolderStart(opened, average);
    try {
      const { reporter } = surroundings;
      if (!opened.proven) {
        reporter.say(
          'Warning: not every folder says from which weights it began. Backbones from different ones average to noise.',
        );
      }
      const drift = await write(opened, start, gamma, request, surroundings);
      const weights = gamma.map((value) => value.toFixed(3)).join(', ');
      reporter.say(`${into}: gamma ${weights}; relative drift of the backbones ${drift.toFixed(3)}`);
      const warning = driftWarning(drift, gamma);
      if (warning !== null) reporter.say(warning);
    } finally {
      start.close();
    }
  } finally {
    opened.close();
  }
}

async function write(
  { config, members }: Members,
  initial: ReturnType<typeof openFolderStart>,
  gamma: readonly number[],
  { into, command, average, gamma: gammaMode, maxShardBytes }: FolderMerge,
  surroundings: Surroundings,
): Promise<number> {
  const work = new Work('merge', surroundings);
  const count = (bytes: number) => work.add(bytes);
  const parts = members.map(({ name, model, expert }) => ({ stage: name, weights: model.weights, expert }));
  const plan = planMerge(parts, { config, gamma, average, initial, made: count });
  const bytes = bytesOf(plan.sources);
  work.expect(2 * bytes); // written, and read back
  return makeFolder(
    into,
    bytes,
    async (making) => {
      const parents = hashParents(members.map(({ name, model }) => ({ name, files: model.weights.files })));
      await writeModel(making, {
        config,
        tensors: plan.sources,
        companions: companionsOf(members[0]!.model.folder, config),
        card: {
          title: folderName(into),
          command,
          description: `The experts are those of its parents, side by side. What they share is averaged (${average}) with the weights ${gamma.join(', ')}. Not fine-tuned. merge.json accounts for every tensor.`,
          parents,
          versions: { torch: torch.version() },
        },
        ...(maxShardBytes === undefined ? {} : { maxShardBytes }),
      });
      await verifyMerge(making, plan.records, count);
      const drift = relativeDrift(plan.drift, members.length);
      const report = mergeReportSchema.parse({
        ...{ format: 1, gammaMode, average, router: 'original', gamma, relativeDrift: drift, barrier: null },
        parents: await parents,
        tensors: plan.records,
      });
      writeJson(join(making, 'merge.json'), report);
      return drift;
    },
    surroundings.reporter.say,
  );
}

/** gamma_k; tokens and steps are known of submodels that are stages of a run. */
function weightsOf(members: readonly Member[], { gamma: mode, lambdaEta }: FolderMerge): number[] {
  const counted = mode === 'samples' || mode === 'wpsgd';
  const work = members.map(({ model, done }): SubmodelWork => {
    if (done !== null) return trainingSummaryOf(done);
    if (!counted) return { tokens: 0, steps: 0 };
    throw new RequestError('Nothing says on how many tokens this submodel was trained.', {
      file: model.folder,
      key: '--gamma',
      expected: 'uniform, or numbers',
      found: mode,
    });
  });
  if (mode === 'wpsgd' && lambdaEta === undefined) {
    throw new RequestError('WP-SGD needs weight decay times learning rate of the training.', {
      key: '--lambda-eta',
      expected: 'a number from 0 to below 1',
      found: 'nothing',
    });
  }
  return backboneWeights(work, { mode, lambdaEta: lambdaEta ?? 0 });
}

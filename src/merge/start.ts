/** What submodels in plain folders were made from: the whole model's router, and theta_0 where it is there. */
import { RequestError } from '../errors.js';
import { SafetensorsReader } from '../formats/safetensors.js';
import { submodelConfig } from '../model/config.js';
import { allParameters } from '../model/model-folder.js';
import type { Parameter } from '../model/parameters.js';
import { dtypeOfSafetensors, type TensorFile } from '../model/store-files.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { carriedRouter, type Members } from './members.js';
import type { InitialWeights } from './sources.js';

/**
 * The original model where it is given; else the router that split has put into the folders; else the submodels' rows
 * of it, concatenated. Close it when done.
 *
 * @param average radial needs theta_0
 * @throws RequestError where a part of it is nowhere to be found
 */
export function openFolderStart(
  { config, members, original }: Members,
  average: 'plain' | 'radial',
): InitialWeights & { close(): void } {
  const routers = allParameters(config).filter(({ role }) => role === 'router');
  if (average === 'radial' && original === null) {
    throw new RequestError('The radial average needs the weights that the submodels began from.', {
      key: '--average',
      hint: '--original FOLDER with the model that they were split from',
    });
  }
  if (original !== null) return fromFile(original.weights, 'original', () => {});
  const file = carriedRouter(members);
  if (file !== null) {
    const reader = SafetensorsReader.open(file);
    try {
      for (const { name } of routers) reader.info(name);
      return fromFile(reader, 'split/router.safetensors', () => reader.close());
    } catch (error) {
      reader.close();
      throw error;
    }
  }
  const rows = new Map(allParameters(submodelConfig(config)).map((one) => [one.part, one]));
  const lost = routers.find(({ part, shape }) => rows.get(part)?.shape[1] !== shape[1]);
  if (lost !== undefined || (members.length === 1 && routers.length > 0)) {
    throw new RequestError('The submodels do not hold the router of the whole model.', {
      file: members[0]!.model.folder,
      key: (lost ?? routers[0]!).name,
      hint: '--original FOLDER with the model that they were split from, weights included',
    });
  }
  const files = members.map(({ model }) => model.weights);
  return {
    name: 'rows of the submodels',
    type: () => null,
    tensor: (parameter) => concatenated(files, rows.get(parameter.part)!.name),
    close: () => {},
  };
}

function fromFile(file: TensorFile, name: string, close: () => void): InitialWeights & { close(): void } {
  return {
    name,
    type: (parameter) => file.info(parameter.name).dtype,
    tensor: (parameter) => read(file, parameter),
    close,
  };
}

function read(file: TensorFile, { name, shape }: Pick<Parameter, 'name' | 'shape'>): Tensor {
  const { dtype } = file.info(name);
  return torch.fromBytes(file.read(name), [...shape], dtypeOfSafetensors(dtype));
}

function concatenated(files: readonly TensorFile[], name: string): Tensor {
  return torch.scope(() =>
    torch.cat(files.map((file) => read(file, { name, shape: file.info(name).shape }))),
  );
}

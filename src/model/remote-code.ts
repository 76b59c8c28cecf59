/** Python definitions of families that transformers does not know; their folders carry them. */
import { fileURLToPath } from 'node:url';
import { familyOf, type ModelConfig } from './config.js';

/** The files that a model's folder has beside its weights: name -> path of the file to copy. Empty for most. */
export function remoteCodeOf(config: Pick<ModelConfig, 'modelType'>): Record<string, string> {
  const path = (name: string): string =>
    fileURLToPath(new URL(`../../data/remote-code/${name}`, import.meta.url));
  return Object.fromEntries(familyOf(config).remoteCode.map((name) => [name, path(name)]));
}

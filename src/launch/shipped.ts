/** Files that come with the package: recipes and data. Found from src/ and from dist/ alike. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder that holds package.json. */
export const PACKAGE_ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Version of this package. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')) as {
    version: string;
  };
  return version;
}

/**
 * The file of a recipe: as named, else a shipped one (`demo`, `demo.yaml`, `recipes/demo.yaml`). A name that is
 * neither comes back as it is, for the loader to refuse.
 */
export function recipeFile(name: string): string {
  const shipped = [name, `${name}.yaml`].flatMap((one) => [
    join(PACKAGE_ROOT, one),
    join(PACKAGE_ROOT, 'recipes', one),
  ]);
  const isRecipe = (file: string) => /\.ya?ml$/.test(file) && existsSync(file);
  return existsSync(name) ? name : (shipped.find(isRecipe) ?? name);
}

/** Set-up: libtorch and the native addon, found or made. See engine.ts for the two entrances. */
export { describeBuild, ensureEngine, locateEngine } from './engine.js';
export { librariesOf } from './libtorch.js';

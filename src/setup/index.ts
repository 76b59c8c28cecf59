/** Set-up: libtorch and the native addon, found or made. See engine.ts for the two entrances. */
export { describeBuild, type Engine, ensureEngine, locateEngine, type SetupOptions } from './engine.js';
export { librariesOf } from './libtorch.js';
export type { Build, DeviceChoice } from './platform.js';

/** The public library. What is exported here is held by a snapshot test. */
export { disco } from './disco.js';
export * from './errors.js';
export { runOneStage, runRecipe, trainSubmodels } from './launch/local.js';

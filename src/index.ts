/**
 * The public library: what the commands do, as functions. What is exported here is held by a test. Importing it
 * loads no libtorch; tensors are a subpath of their own.
 */
export { type Plan, planRecipe } from './cost/plan.js';
export { disco } from './disco.js';
export * from './errors.js';
export { type GeneratedText, generateText, type TextRequest } from './launch/generate.js';
export { type FinishedRun, runOneStage, runRecipe, trainSubmodels } from './launch/local.js';
export { barReporter, lineReporter, type StageReporter } from './launch/reporter.js';
export { forkRun, makeRun, type OpenRun, openRun } from './launch/run-recipe.js';
export { type Session, withSession } from './launch/session.js';
export { inThisProcess, type Stages } from './launch/stages.js';
export { StopRequest } from './launch/stop.js';
export { inWorkers, type Workers, type WorkersRequest } from './launch/supervisor.js';
export { type LoadedRecipe, loadRecipe, resolveRecipe } from './recipe/load.js';
export type { Recipe, RecipeInput } from './recipe/schema.js';
export type { Progress, Reporter, StageRun, StopSignal } from './run/context.js';
export type { Done } from './run/done.js';
export { RunFolder } from './run/folder.js';
export { runLedger, runStatus, verifyRun } from './run/views.js';

import { expect, it } from 'vitest';
import * as library from '../src/index.js';
import { hasLoaded } from './e2e/processes.js';

it('the public library exports exactly this, and loads no libtorch', () => {
  expect(Object.keys(library).sort()).toEqual([
    'BudgetError',
    'DataError',
    'DiscoError',
    'EXIT',
    'EngineError',
    'EnvironmentError',
    'NumericError',
    'RequestError',
    'RunFolder',
    'StopRequest',
    'StoppedError',
    'barReporter',
    'describeError',
    'disco',
    'forkRun',
    'generateText',
    'inThisProcess',
    'inWorkers',
    'isSystemError',
    'lineReporter',
    'loadRecipe',
    'makeRun',
    'openRun',
    'planRecipe',
    'resolveRecipe',
    'runLedger',
    'runOneStage',
    'runRecipe',
    'runStatus',
    'trainSubmodels',
    'verifyRun',
    'withSession',
  ]);
  if (process.platform === 'linux') expect(hasLoaded(process.pid, 'libtorch')).toBe(false);
});

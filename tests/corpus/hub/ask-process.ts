/** Prints the files of a path on the Hub: what the tests run in a process of its own. */
import { hubFiles } from '../../../src/corpus/hub/files.js';
import { describeError } from '../../../src/errors.js';

try {
  const { files } = await hubFiles(process.argv[2]!, { retryDelay: 1 });
  for (const { name } of files) process.stdout.write(`${name}\n`);
} catch (error) {
  process.stderr.write(describeError(error));
  process.exitCode = 1;
}

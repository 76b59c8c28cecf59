/** Writes src/torch/generated from the operators in use and the schemas of the loaded libtorch. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { generateWrappers } from '../src/torch/generate.js';
import { native } from '../src/torch/native.js';
import { OPERATORS } from '../src/torch/operators.js';

const files = generateWrappers(OPERATORS, (name, overload) => {
  const schema = native.operatorSchema(name, overload);
  if (schema === null) throw new Error(`libtorch ${native.version()} has no ${name}.${overload}`);
  return schema;
});
const folder = new URL('../src/torch/generated/', import.meta.url);
writeFileSync(fileURLToPath(new URL('methods.ts', folder)), files.methods);
writeFileSync(fileURLToPath(new URL('functions.ts', folder)), files.functions);
console.log(`${OPERATORS.length} operators of libtorch ${native.version()}`);

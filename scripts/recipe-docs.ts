/** Writes docs/recipe.md from the recipe's schema: `npx tsx scripts/recipe-docs.ts`. */
import { writeFileSync } from 'node:fs';
import { recipeDocs } from '../src/recipe/docs.js';

writeFileSync(new URL('../docs/recipe.md', import.meta.url), recipeDocs());

/** Writes docs/paper-costs.md: `npx tsx scripts/paper-costs.ts`. */
import { writeFileSync } from 'node:fs';
import { paperCosts } from '../src/report/paper.js';

writeFileSync(new URL('../docs/paper-costs.md', import.meta.url), paperCosts());

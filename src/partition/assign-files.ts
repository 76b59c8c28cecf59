/** New documents of files, by the partition of a run. */
import type { TextDocument } from '../corpus/document.js';
import { readDocuments, type Unit } from '../corpus/readers.js';
import { endTokenOf } from '../corpus/stage.js';
import { TextTokenizer } from '../corpus/tokenizer.js';
import type { Source } from '../recipe/schema.js';
import type { RunFolder } from '../run/folder.js';
import { requireDone } from '../run/require.js';
import { Assigner } from './assign.js';

/** Documents assigned at once. */
const BATCH_DOCUMENTS = 256;

/** Where one document belongs. */
export interface AssignedDocument {
  file: string;
  /** Line, or row of a Parquet file, where it begins. */
  line: number;
  cluster: number;
  /** Distance to the cluster's centroid. */
  distance: number;
}

/**
 * Assigns the documents of files to the clusters of a run, in their order, streamed.
 *
 * @throws RequestError where corpus or partition of the run are not finished or the partition is a random one;
 * DataError for files that cannot be read
 */
export async function* assignFiles(
  run: RunFolder,
  source: Source,
  options: { unit: Unit; device: string },
): AsyncGenerator<AssignedDocument> {
  const corpus = requireDone(run, 'corpus');
  requireDone(run, 'partition');
  const tokenizer = await TextTokenizer.load(run.stage('corpus').path('tokenizer.json'), endTokenOf(corpus));
  const assigner = await Assigner.open(run.stageFolder('partition'), tokenizer, { device: options.device });
  try {
    let batch: TextDocument[] = [];
    for await (const document of readDocuments(source, options.unit)) {
      batch.push(document);
      if (batch.length < BATCH_DOCUMENTS) continue;
      yield* await assignBatch(assigner, batch);
      batch = [];
    }
    yield* await assignBatch(assigner, batch);
  } finally {
    assigner.dispose();
  }
}

async function assignBatch(
  assigner: Assigner,
  documents: readonly TextDocument[],
): Promise<AssignedDocument[]> {
  const { labels, distances } = await assigner.assignTexts(documents.map(({ text }) => text));
  return documents.map(({ file, line }, i) => ({
    file,
    line,
    cluster: labels[i]!,
    distance: Number(distances[i]!.toPrecision(6)),
  }));
}

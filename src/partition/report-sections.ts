/** The report on a partition in sections, for both of its forms. */
import type { Section } from '../report/layout.js';
import type { Clusters } from './report.js';

/** A share in per cent. */
export const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
/** A number with commas. */
export const grouped = (n: number): string => n.toLocaleString('en');

/** The heading of the whole report. */
export function headingOf({ clusters, documents }: Clusters): string {
  return clusters.length === 1
    ? `One cluster of all ${grouped(documents)} documents`
    : `${clusters.length} clusters of ${grouped(documents)} documents`;
}

/** A cluster's number, with its name where it has one. */
export function titleOf({ cluster, name }: Clusters['clusters'][number]): string {
  return name === undefined ? `Cluster ${cluster}` : `Cluster ${cluster}: ${name}`;
}

/** How the clusters were made, in a sentence or two. */
export function howMade(report: Clusters): string {
  const { method, embedding, center, normalize, settings, kmeans } = report;
  const vectors =
    `mean token vectors of ${embedding.dimension} dimensions (${embedding.description})` +
    `${center ? ', centred' : ''}${normalize ? ', scaled to unit length' : ''}`;
  if (method === 'random')
    return 'The labels of k-means, permuted at random: clusters of the same sizes without a subject.';
  if (method === 'whole') return 'The corpus is not divided: one submodel trains on all of it.';
  if (method === 'field')
    return `The documents' own labels. What is measured below is measured on ${vectors}.`;
  const sample =
    settings?.sample == null ? '' : `, found on ${grouped(settings.sample)} documents drawn at random`;
  const way = settings?.algorithm === 'miniBatch' ? 'Mini-batch k-means' : 'K-means';
  const balance =
    settings === undefined || settings.balanced === 'none'
      ? ''
      : ` Every cluster was to have the same number of ${settings.balanced} to within ${percent(settings.tolerance)}.`;
  const steps = settings?.algorithm === 'miniBatch' ? 'passes after the mini-batches' : 'iterations';
  const end = kmeans.converged ? '' : ', not converged';
  return (
    `${way} over ${vectors}${sample}: ${kmeans.iterations} ${steps}${end}, best of ${kmeans.inertias.length} ` +
    `${kmeans.inertias.length === 1 ? 'start' : 'starts'}.${balance}`
  );
}

/**
 * The sections of the report. The last one, Documents, shows texts.
 * @param safe what makes text of strangers harmless in the form that is written
 */
export function reportSections(report: Clusters, safe: (text: string) => string): Section[] {
  return [
    sizes(report, safe),
    imbalance(report),
    ...(report.quality === undefined ? [] : [measures(report, report.quality)]),
    ...(report.quality?.domains == null ? [] : [domains(report.quality.domains, safe)]),
    {
      title: 'Documents',
      intro:
        report.method === 'random'
          ? 'The first of each cluster.'
          : 'Those nearest to the centre of each cluster.',
      notes: report.clusters.map((cluster) =>
        [
          `### ${safe(titleOf(cluster))}`,
          '',
          ...cluster.samples.map(({ document, text }) => `- document ${document}: ${safe(text)}`),
        ].join('\n'),
      ),
    },
  ];
}

function sizes({ clusters, method }: Clusters, safe: (text: string) => string): Section {
  const longest = Math.max(...clusters.map(({ tokens }) => tokens));
  const named = method === 'field';
  return {
    title: 'Sizes',
    table: {
      head: [
        'cluster',
        ...(named ? ['label'] : []),
        'documents',
        'tokens',
        'share',
        'of the longest',
        'characteristic words',
      ],
      rows: clusters.map((c) => [
        String(c.cluster),
        ...(named ? [safe(c.name ?? '')] : []),
        grouped(c.documents),
        grouped(c.tokens),
        percent(c.share),
        percent(c.tokens / longest),
        safe(c.terms.join(', ')),
      ]),
      lastIsText: true,
    },
  };
}

function imbalance(report: Clusters): Section {
  const { clusters, imbalance: factor, smallestShare, tokens, tokenDifferences } = report;
  const notes = [`The smallest cluster has ${percent(smallestShare)} of ${grouped(tokens)} tokens.`];
  if (clusters.length > 1) {
    notes.push(
      `The largest has ${factor.toFixed(2)} times the mean. Trained for equal epochs, the S-phase, which is paid as ` +
        `${clusters.length} times its longest submodel, costs ${factor.toFixed(2)} times what it would with equal clusters ` +
        `and takes as much longer: ${percent(1 - 1 / factor)} of what is paid waits for the longest. Trained for equal ` +
        'steps, all take the same time, and the texts of small clusters are seen more often.',
    );
    if (factor > 1.1 && report.method === 'kmeans' && report.settings?.balanced === 'none') {
      notes.push(
        'partition.balanced: tokens makes clusters of equal size, at some cost in how well they fit.',
      );
    }
  }
  if (tokenDifferences !== null) {
    notes.push(
      `Tokens less those of the clustered counterpart: ${tokenDifferences.map(grouped).join(', ')}.`,
    );
  }
  return { title: 'What imbalance costs', notes, list: true };
}

function measures(report: Clusters, quality: NonNullable<Clusters['quality']>): Section {
  const { divergence, randomDivergence, clusters } = report;
  const { clusters: own, random, vectors, silhouetteSample } = quality;
  const figure = (value: number | null): string => (value === null ? '-' : value.toFixed(3));
  const row = (name: string, value: (one: typeof own) => number | null) => [
    name,
    figure(value(own)),
    figure(value(random)),
  ];
  const agreement = (name: string, key: keyof NonNullable<typeof own.agreement>) =>
    row(name, (one) => one.agreement?.[key] ?? null);
  return {
    title: 'Measures',
    intro:
      `Beside those of ${report.method === 'random' ? 'another' : 'a'} random partition with the same numbers of tokens. Explained ` +
      `variance over ${grouped(vectors)} vectors, silhouette over ${grouped(silhouetteSample)} of them drawn at random.`,
    table: {
      head: ['measure', report.method === 'random' ? 'this' : 'clusters', 'by chance'],
      rows: [
        row('explained variance', (one) => one.explainedVariance),
        row('silhouette', (one) => one.silhouette),
        [
          'Jensen-Shannon divergence of the token distributions, nats',
          divergence.nats.toFixed(4),
          randomDivergence.nats.toFixed(4),
        ],
        ...(own.agreement === null
          ? []
          : [
              agreement(
                'agreement with the labels: normalised mutual information',
                'normalizedMutualInformation',
              ),
              agreement('agreement with the labels: adjusted Rand index', 'adjustedRand'),
              agreement('agreement with the labels: purity', 'purity'),
            ]),
      ],
    },
    notes:
      clusters.length > 1
        ? [
            `${clusters.length} clusters without a common token would have ${divergence.maximum.toFixed(4)} nats.`,
          ]
        : [],
  };
}

function domains(
  { names, documents }: { names: string[]; documents: number[][] },
  safe: (text: string) => string,
): Section {
  const SHOWN = 12;
  const totals = names.map((_, j) => documents.reduce((sum, row) => sum + row[j]!, 0));
  const columns = [...totals.keys()].sort((a, b) => totals[b]! - totals[a]! || a - b).slice(0, SHOWN);
  return {
    title: 'Labels and clusters',
    intro: `Documents of each label in each cluster${names.length > SHOWN ? `; the ${SHOWN} most frequent of ${names.length} labels` : ''}.`,
    table: {
      head: ['cluster', ...columns.map((j) => safe(names[j]!))],
      rows: documents.map((row, k) => [String(k), ...columns.map((j) => grouped(row[j]!))]),
    },
  };
}

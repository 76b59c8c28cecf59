/** What lies beside config.json and the weights, so that transformers loads model and tokenizer as they were trained. */
import { z } from 'zod';
import { readJson } from '../formats/atomic.js';
import type { ModelConfig } from './config.js';
import { remoteCodeOf } from './remote-code.js';

const tokenizerJson = z.looseObject({
  added_tokens: z.array(z.looseObject({ id: z.int(), content: z.string() })).default([]),
  model: z.looseObject({ vocab: z.unknown() }),
});

/**
 * The tokenizer_config.json of a model: without it AutoTokenizer goes by the family of the model, and then splits and
 * normalises as that family's own tokenizer does, not as tokenizer.json says.
 *
 * @param path a tokenizer.json
 * @throws DataError where it is none
 */
export function tokenizerConfig(path: string, config: ModelConfig): Uint8Array {
  const { added_tokens: added, model } = readJson(path, tokenizerJson);
  const token = (id: number | null): string | null => {
    if (id === null) return null;
    const listed = added.find((entry) => entry.id === id)?.content;
    const vocabulary = Object.entries((model.vocab ?? {}) as Record<string, unknown>);
    return listed ?? vocabulary.find(([, number]) => number === id)?.[0] ?? null;
  };
  const [eosId = null] = [config.eosTokenId].flat();
  const named = Object.entries({
    bos_token: token(config.bosTokenId),
    eos_token: token(eosId),
    pad_token: token(config.padTokenId),
  }).filter(([, value]) => value !== null);
  return jsonBytes({
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: config.maxPositionEmbeddings,
    clean_up_tokenization_spaces: false,
    ...Object.fromEntries(named),
  });
}

/**
 * The files of a model folder beside config.json and weights: tokenizer, its settings, the family's own code.
 * @param tokenizer path of the run's tokenizer.json
 * @returns name -> path of a file to copy, or content
 */
export function modelCompanions(tokenizer: string, config: ModelConfig): Record<string, string | Uint8Array> {
  return {
    'tokenizer.json': tokenizer,
    'tokenizer_config.json': tokenizerConfig(tokenizer, config),
    ...remoteCodeOf(config),
  };
}

/** A value as the bytes of an indented JSON file. */
export function jsonBytes(value: unknown): Uint8Array {
  return Buffer.from(`${JSON.stringify(value, null, 2)}\n`, 'utf8');
}

/** What a model folder has beside weights and config.json, so that transformers loads model and tokenizer. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { jsonBytes, tokenizerConfig } from '../model/companions.js';
import type { ModelConfig } from '../model/config.js';
import { remoteCodeOf } from '../model/remote-code.js';

/** Files of the tokenizer and its chat template, by the names that transformers knows. */
const TOKENIZER_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'tokenizer.model',
  'vocab.json',
  'merges.txt',
  'qwen.tiktoken',
  'chat_template.jinja',
];

/** The terms of whoever made the model go with its weights. */
const TERMS = /^(licen[cs]e|notice|use_policy)([._-][\w.-]*)?$/i;

/** Name -> path of a file to copy, or content. */
export type Companions = Record<string, string | Uint8Array>;

/** Names of a folder's tokenizer files. */
export function tokenizerFilesOf(folder: string): string[] {
  return TOKENIZER_FILES.filter((name) => existsSync(join(folder, name)));
}

/** Tokenizer, generation settings and terms of a folder, and the family's own code. Nothing where it has none. */
export function companionsOf(folder: string, config: ModelConfig): Companions {
  const others = readdirSync(folder).filter((name) => name === 'generation_config.json' || TERMS.test(name));
  const names = [...tokenizerFilesOf(folder), ...others];
  const copied = Object.fromEntries(names.map((name) => [name, join(folder, name)]));
  const tokenizer = withTokenizerConfig(copied, folder, config);
  const generation =
    'generation_config.json' in copied ? {} : { 'generation_config.json': generationOf(config) };
  return { ...tokenizer, ...generation, ...remoteCodeOf(config) };
}

/** What transformers would take from config.json, said once more where vLLM and others look for it. */
function generationOf({ bosTokenId, eosTokenId, padTokenId }: ModelConfig): Uint8Array {
  return jsonBytes({
    _from_model_config: true,
    ...(bosTokenId === null ? {} : { bos_token_id: bosTokenId }),
    ...(eosTokenId === null ? {} : { eos_token_id: eosTokenId }),
    ...(padTokenId === null ? {} : { pad_token_id: padTokenId }),
  });
}

/** With the settings of the tokenizer where the folder has none. */
function withTokenizerConfig(companions: Companions, folder: string, config: ModelConfig): Companions {
  if (!('tokenizer.json' in companions) || 'tokenizer_config.json' in companions) return companions;
  return { ...companions, 'tokenizer_config.json': tokenizerConfig(join(folder, 'tokenizer.json'), config) };
}

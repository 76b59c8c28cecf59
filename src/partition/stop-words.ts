/** English words that every text has: articles, pronouns, prepositions, conjunctions and auxiliary verbs. */
export const ENGLISH_STOP_WORDS: ReadonlySet<string> = new Set(
  (
    'a about above after again against all also am among an and any are as at be became because become been before ' +
    'being below between both but by can cannot could did do does doing down during each either else ever every few ' +
    'for from further had has have having he hence her here hers herself him himself his how however i if in into is ' +
    'it its itself just may me might mine more most much must my myself neither no nor not of off often on once one ' +
    'only onto or other others our ours ourselves out over own per perhaps same shall she should since so some such ' +
    'than that the their theirs them themselves then there therefore these they this those though through thus to ' +
    'too toward towards under until up upon us very was we were what when where whether which while who whom whose ' +
    'why will with within without would yet you your yours yourself yourselves don doesn didn isn wasn weren won ' +
    'wouldn couldn shouldn hasn haven hadn ll re ve'
  ).split(' '),
);

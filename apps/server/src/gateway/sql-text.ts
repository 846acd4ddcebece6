/** Whether a query is SQL rather than the name of one. */
export const isSql = (query: string): boolean => /^\s*(select|with|values)\b/i.test(query);

/** Functions whose result depends only on their arguments, in a session whose settings never change. */
const PURE = new Set(
  `abs array_agg array_length avg bool_and bool_or ceil ceiling char_length coalesce concat corr cos cosh count cume_dist
   date_part date_trunc degrees dense_rank every exp first first_value floor format greatest jsonb_array_elements
   jsonb_array_elements_text jsonb_array_length jsonb_build_object json_agg json_build_object jsonb_agg lag last last_value
   lead least left length ln log lower max min mod nth_value ntile nullif percent_rank percentile_cont percentile_disc
   position power radians rank regexp_replace replace right round row_number sign sin sqrt stddev stddev_pop stddev_samp
   string_agg substr substring sum tan time_bucket to_char to_json to_jsonb trim trunc unnest upper var_pop var_samp
   variance width_bucket atan2 asin acos atan generate_series`.split(/\s+/),
);

/** Words that can come before a parenthesis without being a call. */
const KEYWORDS = new Set(
  `all and any as between by case cast cross distinct else except exists extract filter from full group having in inner
   intersect interval is join lateral left like limit materialized not offset on or order outer over partition right row
   rows select some then union using values when where with within`.split(/\s+/),
);

/**
 * Whether the answer of a SELECT depends only on the tables, so that it stays right until an event touches them. If the
 * statement has a function that is not known here, the clock, a catalog, anything unusual in the text, or one of the
 * tables `atTheirPace`, which follow others later, the answer is not cached.
 */
export function followsFromTables(
  sql: string,
  values: readonly unknown[] = [],
  atTheirPace: readonly string[] = [],
): boolean {
  // Other ways to write a name or a text: the words below could then mean something else.
  if (/[$][a-z_$]|\b[eu]&?'|u&"|--|[/][*]/i.test(sql)) return false;
  const texts = [...sql.matchAll(/'((?:[^']|'')*)'/g)].map(([, text]) => text ?? '');
  // Times such as 'now' and 'yesterday' read the clock too, in the statement or in its parameters.
  if ([...texts, ...values].some((text) => /now|today|tomorrow|yesterday/i.test(String(text)))) return false;
  const words = sql.replace(/'(?:[^']|'')*'/g, " '' ").toLowerCase();
  const unsure =
    /\b(pg_\w*|information_schema|_?timescaledb\w*|current_\w*|localtime\w*|session_user|system_user|user|tablesample|reg[a-z]+)\b/;
  if (unsure.test(words)) return false;
  if (atTheirPace.some((table) => words.includes(table))) return false;
  // A text that is computed can become one of them: a time must come from one literal or one parameter.
  if (/''\s+''|(?<!(''|[$]\d+)\s*)::\s*"?(date|time|abstime)|\bas\s+"?(date|time|abstime)/.test(words))
    return false;
  for (const [, quoted, plain] of words.matchAll(/(?:"([^"]*)"|(?<![\w$])([a-z_][\w$]*))\s*\(/g)) {
    const name = quoted ?? plain ?? '';
    if (!PURE.has(name) && (quoted !== undefined || !KEYWORDS.has(name))) return false;
  }
  return true;
}

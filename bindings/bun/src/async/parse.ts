/**
 * The parameters of a SQL text, found without compiling it: so that a query is one request, and the requests of a
 * connection run in the order in which they were made.
 *
 * Invariant: for SQL that SQLite compiles, numbers and names are SQLite's own (https://www.sqlite.org/lang_expr.html#varparam);
 * a test compares with `Statement.paramsCount`. Of SQL that it does not compile nothing is promised.
 */

/** What a text says of its parameters. */
export interface Parsed {
  count: number;
  /** By number, from the first: the name with its prefix, or null. */
  names: (string | null)[];
  /** Whether something follows the first statement. */
  several: boolean;
}

const TOKEN =
  /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[^]*?(?:\*\/|$)|\?(\d*)|[:@#$](?=[\w$\u0080-\uffff])([\w$\u0080-\uffff]+)((?:::[\w$\u0080-\uffff]*)*(?:\([^\s)]*\))?)|[\w\u0080-\uffff][\w$\u0080-\uffff]*|(;)|\S/g;

const TRIGGER = /^\s*(?:explain\s+(?:query\s+plan\s+)?)?create\s+(?:temp\s+|temporary\s+)?trigger\b/i;

const parsed = new Map<string, Parsed>();
const PARSED_MAX = 500;

export function parse(sql: string): Parsed {
  let found = parsed.get(sql);
  if (found === undefined) {
    found = scan(sql);
    if (parsed.size >= PARSED_MAX) parsed.delete(parsed.keys().next().value as string);
    parsed.set(sql, found);
  }
  return found;
}

function scan(sql: string): Parsed {
  const names: (string | null)[] = [];
  const numbers = new Map<string, number>();
  const isTrigger = TRIGGER.test(sql.replace(/^(?:\s+|--[^\n]*\n?|\/\*[^]*?\*\/)+/, ""));
  let started = false;
  let ended = false;
  let several = false;
  for (const [token, digits, name, suffix, semicolon] of sql.matchAll(TOKEN)) {
    if (token.startsWith("--") || token.startsWith("/*")) continue;
    if (semicolon !== undefined) {
      ended ||= started && !isTrigger;
      continue;
    }
    if (ended) {
      several = true;
      break;
    }
    started = true;
    if (digits !== undefined) {
      const number = digits === "" ? names.length + 1 : Number(digits);
      while (names.length < number) names.push(null);
      if (digits !== "") names[number - 1] ??= token;
    } else if (name !== undefined) {
      const whole = token.startsWith("$") ? token : token.slice(0, token.length - (suffix?.length ?? 0));
      if (!numbers.has(whole)) {
        names.push(whole);
        numbers.set(whole, names.length);
      }
    }
  }
  return { count: names.length, names, several };
}

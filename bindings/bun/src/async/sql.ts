/**
 * The tagged template: SQL whose values are bound, never spliced into the text.
 *
 * Invariants:
 * 1. A value in a template becomes a parameter. Only what `identifier`, `raw` or another template made becomes text.
 * 2. A query runs once, when it is first awaited or asked for rows.
 */
import type { SQLQueryBindings } from "../parameters.ts";

const FRAGMENT = Symbol("fragment");

/** A piece of SQL with the values of its parameters. */
export interface Fragment {
  readonly [FRAGMENT]: true;
  readonly text: string;
  readonly values: readonly SQLQueryBindings[];
}

/** What a template takes. */
export type SqlValue = SQLQueryBindings | Fragment | readonly (SQLQueryBindings | Fragment)[];

function fragment(text: string, values: readonly SQLQueryBindings[]): Fragment {
  return { [FRAGMENT]: true, text, values };
}

export function isFragment(value: unknown): value is Fragment {
  return typeof value === "object" && value !== null && (value as Fragment)[FRAGMENT] === true;
}

/** The name of a table or column, quoted; several arguments make a qualified name: `identifier("main", "users")`. */
export function identifier(...names: string[]): Fragment {
  if (names.length === 0) throw new TypeError("identifier() takes at least one name");
  const quoted = names.map((name) => {
    if (typeof name !== "string" || name.includes("\0")) throw new TypeError("a name is a string without NUL characters");
    return `"${name.replaceAll('"', '""')}"`;
  });
  return fragment(quoted.join("."), []);
}

/** SQL as it stands. It must not come from outside the program. */
export function raw(text: string): Fragment {
  return fragment(text, []);
}

/** Fragments or values with a separator between them, a comma unless it is given: `VALUES ${join(rows)}`. */
export function join(items: readonly (SQLQueryBindings | Fragment)[], separator: Fragment = raw(", ")): Fragment {
  const parts: string[] = [];
  const values: SQLQueryBindings[] = [];
  for (const item of items) {
    if (isFragment(item)) {
      parts.push(item.text);
      values.push(...item.values);
    } else {
      parts.push("?");
      values.push(item);
    }
  }
  if (separator.values.length !== 0) throw new TypeError("a separator has no values");
  return fragment(parts.join(separator.text), values);
}

/**
 * SQL and values of a template. An array becomes a list in parentheses: `id IN ${[1, 2]}`; an empty one the empty list,
 * which nothing is in.
 */
export function template(strings: TemplateStringsArray, given: readonly SqlValue[]): Fragment {
  let text = strings[0];
  const values: SQLQueryBindings[] = [];
  given.forEach((value, at) => {
    if (isFragment(value)) {
      text += value.text;
      values.push(...value.values);
    } else if (Array.isArray(value)) {
      const list = join(value);
      text += `(${list.text})`;
      values.push(...list.values);
    } else {
      text += "?";
      values.push(value as SQLQueryBindings);
    }
    text += strings[at + 1];
  });
  return fragment(text, values);
}

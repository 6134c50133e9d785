/** A query of the tagged template, waiting to be awaited. */
import type { Value } from "../memory.ts";
import type { SQLQueryBindings } from "../parameters.ts";
import type { Changes } from "../statement.ts";
import { isFragment, template, type Fragment, type SqlValue } from "./sql.ts";

/** How a query may be run. */
export interface QueryOptions {
  /** Ends the query when it is aborted; its promise is then rejected with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** What runs queries: a connection, or a transaction on it. */
export interface Queryable {
  query<Row = Record<string, Value>>(sql: string, params?: Params, options?: QueryOptions): Promise<Row[]>;
  first<Row = Record<string, Value>>(sql: string, params?: Params, options?: QueryOptions): Promise<Row | null>;
  values(sql: string, params?: Params, options?: QueryOptions): Promise<Value[][]>;
  run(sql: string, params?: Params, options?: QueryOptions): Promise<Changes>;
  iterate<Row = Record<string, Value>>(sql: string, params?: Params, options?: IterateOptions): AsyncGenerator<Row, void, void>;
}

/** How rows may be streamed. */
export interface IterateOptions extends QueryOptions {
  /** Rows fetched at once at most. Default: as many as fit into 64 KiB. */
  batch?: number | undefined;
}

/** Parameters: a list, or named values. */
export type Params = readonly SQLQueryBindings[] | Record<string, SQLQueryBindings>;

/**
 * A query of the tagged template. `await` gives its rows; the methods, something else. It runs once, when it is first
 * asked; inside another template it is a fragment of that one and does not run at all.
 */
export class Query<Row = Record<string, Value>> implements PromiseLike<Row[]>, AsyncIterable<Row> {
  readonly #on: Queryable;
  readonly #sql: Fragment;
  #rows: Promise<Row[]> | undefined;
  #options: QueryOptions = {};

  constructor(on: Queryable, sql: Fragment) {
    this.#on = on;
    this.#sql = sql;
  }

  /** The SQL and the values that would be sent. */
  get fragment(): Fragment {
    return this.#sql;
  }

  /** Ends the query when `signal` is aborted. */
  signal(signal: AbortSignal): this {
    this.#options = { signal };
    return this;
  }

  /** The first row, or null. */
  first(): Promise<Row | null> {
    return this.#on.first<Row>(this.#sql.text, this.#sql.values, this.#options);
  }

  /** The rows as arrays. */
  values(): Promise<Value[][]> {
    return this.#on.values(this.#sql.text, this.#sql.values, this.#options);
  }

  /** What changed. */
  run(): Promise<Changes> {
    return this.#on.run(this.#sql.text, this.#sql.values, this.#options);
  }

  /** The rows one by one, never all in memory. */
  [Symbol.asyncIterator](): AsyncGenerator<Row, void, void> {
    return this.#on.iterate<Row>(this.#sql.text, this.#sql.values, this.#options);
  }

  // biome-ignore lint/suspicious/noThenProperty: a query is awaited.
  then<Fulfilled = Row[], Rejected = never>(
    fulfilled?: ((rows: Row[]) => Fulfilled | PromiseLike<Fulfilled>) | null,
    rejected?: ((reason: unknown) => Rejected | PromiseLike<Rejected>) | null,
  ): Promise<Fulfilled | Rejected> {
    this.#rows ??= this.#on.query<Row>(this.#sql.text, this.#sql.values, this.#options);
    return this.#rows.then(fulfilled, rejected);
  }

  catch<Rejected = never>(rejected?: ((reason: unknown) => Rejected | PromiseLike<Rejected>) | null): Promise<Row[] | Rejected> {
    return this.then(null, rejected);
  }

  finally(settled?: (() => void) | null): Promise<Row[]> {
    return this.then().finally(settled);
  }
}

/** The tag of what runs queries; a query of another template is taken as its fragment. */
export interface SqlTag {
  <Row = Record<string, Value>>(strings: TemplateStringsArray, ...values: (SqlValue | Query<any>)[]): Query<Row>;
}

export function tagOf(on: Queryable): SqlTag {
  return <Row>(strings: TemplateStringsArray, ...given: (SqlValue | Query<any>)[]) => {
    if (!Array.isArray(strings) || !Object.hasOwn(strings, "raw")) {
      throw new TypeError("sql is a template's tag: sql`SELECT ...`. For SQL in a string there is query()");
    }
    const values = given.map((value) => (value instanceof Query ? value.fragment : value)) as SqlValue[];
    return new Query<Row>(on, template(strings as TemplateStringsArray, values));
  };
}

/** Builds a fragment with no connection at hand. */
export function sql(strings: TemplateStringsArray, ...values: SqlValue[]): Fragment {
  return template(strings, values);
}

export { isFragment };

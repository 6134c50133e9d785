/**
 * `Database.transaction()`: functions that run inside a transaction.
 *
 * 1. Outside a transaction: BEGIN, COMMIT when the body returns, ROLLBACK when it throws.
 * 2. Inside one: a savepoint, released or rolled back to.
 * 3. A body that returns a promise which is already rejected is rolled back too, and the promise returned.
 * 4. If SQL ended the transaction inside the body, an error is thrown on as it is: there is nothing left to roll back.
 */
import type { Connection } from "./connection.ts";
import type { Database } from "./database.ts";
import type { Statement } from "./statement.ts";

/** A function that runs inside a transaction, with the variants that say how it begins. */
export interface Transaction<A extends any[], T> {
  (...args: A): T;
  /** BEGIN: the writer slot is taken at the first write. */
  readonly default: (...args: A) => T;
  /** BEGIN DEFERRED: the same. */
  readonly deferred: (...args: A) => T;
  /** BEGIN IMMEDIATE: the writer slot is taken at once. */
  readonly immediate: (...args: A) => T;
  /** BEGIN EXCLUSIVE: the same; readers are never kept out. */
  readonly exclusive: (...args: A) => T;
  readonly database: Database;
}

const SAVEPOINT = '"twilldb transaction"';

interface Step {
  run(): unknown;
}

/** The statements of a connection's transactions. */
interface Steps {
  begin: Record<"default" | "deferred" | "immediate" | "exclusive", Step>;
  commit: Step;
  rollback: Step;
  savepoint: Step;
  release: Step;
  rollbackTo: Step;
}

const stepsOf = new WeakMap<Connection, Steps>();

function steps(connection: Connection, compile: (sql: string) => Statement): Steps {
  let found = stepsOf.get(connection);
  if (found === undefined || connection.closed !== 0) {
    found = {
      begin: {
        default: compile("BEGIN"),
        deferred: compile("BEGIN DEFERRED"),
        immediate: compile("BEGIN IMMEDIATE"),
        exclusive: compile("BEGIN EXCLUSIVE"),
      },
      commit: compile("COMMIT"),
      rollback: compile("ROLLBACK"),
      savepoint: compile(`SAVEPOINT ${SAVEPOINT}`),
      release: compile(`RELEASE ${SAVEPOINT}`),
      rollbackTo: compile(`ROLLBACK TO ${SAVEPOINT}`),
    };
    stepsOf.set(connection, found);
  }
  return found;
}

export function wrapTransaction<A extends any[], T>(
  database: Database,
  body: (this: any, ...args: A) => T,
  compile: (sql: string) => Statement,
  connection: Connection,
): Transaction<A, T> {
  connection.enter();
  const all = steps(connection, compile);
  const wrap = (begin: Step) =>
    function transaction(this: unknown, ...args: A): T {
      const nested = database.inTransaction;
      const undo = () => {
        if (!database.inTransaction) return;
        if (nested) {
          all.rollbackTo.run();
          all.release.run();
        } else {
          all.rollback.run();
        }
      };
      try {
        (nested ? all.savepoint : begin).run();
        const result = body.apply(this, args);
        if (result instanceof Promise && Bun.peek.status(result) === "rejected") undo();
        else (nested ? all.release : all.commit).run();
        return result;
      } catch (error) {
        undo();
        throw error;
      }
    };
  const variants = {
    default: wrap(all.begin.default),
    deferred: wrap(all.begin.deferred),
    immediate: wrap(all.begin.immediate),
    exclusive: wrap(all.begin.exclusive),
  };
  const properties: PropertyDescriptorMap = { database: { value: database, enumerable: true } };
  for (const [name, value] of Object.entries(variants)) properties[name] = { value };
  for (const variant of Object.values(variants)) Object.defineProperties(variant, properties);
  return variants.default as unknown as Transaction<A, T>;
}

/** transaction() and inTransaction. */
import { expect, test } from "bun:test";
import { Database, thrown, value } from "./module.ts";

function counted() {
  const db = new Database(":memory:");
  db.run("CREATE TABLE t(a)");
  const insert = db.prepare<any, any>("INSERT INTO t VALUES (?)");
  return { db, insert, count: () => value(db, "SELECT count(*) FROM t") as number };
}

test("commits, passes this and arguments, and gives the result", () => {
  const { db, insert, count } = counted();
  const insertAll = db.transaction(function (this: any, ...values: number[]) {
    for (const each of values) insert.run(each);
    return [this, db.inTransaction, values];
  });
  expect(insertAll(1, 2)).toEqual([undefined, true, [1, 2]]);
  expect(insertAll.call({ me: 1 } as any, 3)).toEqual([{ me: 1 }, true, [3]]);
  expect(count()).toBe(3);
  expect(db.inTransaction).toBe(false);
});

test("modes", () => {
  const { db, insert, count } = counted();
  const one = db.transaction(() => insert.run(1)) as any;
  for (const mode of ["default", "deferred", "immediate", "exclusive"]) one[mode]();
  expect(count()).toBe(4);
  expect([one.deferred.immediate === one.immediate, one.default === one, one.immediate.default === one]).toEqual([true, true, true]);
  expect([Object.keys(one), one.database === db, one.name]).toEqual([["database"], true, "transaction"]);
  expect(db.transaction(() => db.inTransaction).immediate()).toBe(true);
});

test("rolls back what throws", () => {
  const { db, insert, count } = counted();
  expect(thrown(() => db.transaction(() => { insert.run(9); throw new RangeError("no"); })())).toBe("RangeError: no");
  expect([count(), db.inTransaction]).toEqual([0, false]);
});

test("nests as savepoints", () => {
  const { db, insert, count } = counted();
  const inner = db.transaction((v: number) => { insert.run(v); if (v === 2) throw new Error("inner"); return v; });
  const outer = db.transaction(() => {
    inner(1);
    try { inner(2); } catch {}
    inner.immediate(3);
    return db.inTransaction;
  });
  expect([outer(), count()]).toEqual([true, 2]);
  const deep = (n: number): void => db.transaction(() => { insert.run(n); if (n > 0) deep(n - 1); })();
  deep(10);
  expect(count()).toBe(13);
  db.run("BEGIN");
  inner(5);
  db.run("ROLLBACK");
  expect(count()).toBe(13);
});

test("a transaction that SQL ended", () => {
  const NONE = "cannot commit - no transaction is active";
  const { db, insert, count } = counted();
  expect(thrown(() => db.transaction(() => { insert.run(1); db.run("ROLLBACK"); })())).toContain(NONE);
  expect([count(), db.inTransaction]).toEqual([0, false]);
  expect(thrown(() => db.transaction(() => { insert.run(1); db.run("COMMIT"); })())).toContain(NONE);
  expect([count(), db.inTransaction]).toEqual([1, false]);
  expect(thrown(() => db.transaction(() => { insert.run(1); db.run("COMMIT"); throw new Error("own"); })())).toBe("Error: own");
  expect(count()).toBe(2);
});

test("promises", async () => {
  const { db, insert, count } = counted();
  const fulfilled = db.transaction(async () => { insert.run(1); return 5; })();
  expect([fulfilled instanceof Promise, count(), db.inTransaction]).toEqual([true, 1, false]);
  expect(await fulfilled).toBe(5);
  const rejected = db.transaction(async () => { insert.run(1); throw new Error("rejected"); })();
  expect([count(), db.inTransaction]).toEqual([1, false]);
  expect(rejected).rejects.toThrow("rejected");
  const inner = db.transaction(async () => { insert.run(1); throw new Error("rejected"); });
  db.transaction(() => { insert.run(2); inner().catch(() => {}); })();
  expect(count()).toBe(2);
  expect(db.transaction(() => ({ then() {} }))()).toHaveProperty("then");
});

test("a commit that fails rolls back", () => {
  const { db } = counted();
  db.run("PRAGMA foreign_keys = ON");
  db.run("CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE k(p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)");
  expect(thrown(() => db.transaction(() => { db.run("INSERT INTO k VALUES (5)"); })()))
    .toBe("SQLiteError: FOREIGN KEY constraint failed [SQLITE_CONSTRAINT_FOREIGNKEY 787 @-1]");
  expect([db.inTransaction, value(db, "SELECT count(*) FROM k")]).toEqual([false, 0]);
});

test("takes functions only", () => {
  const { db } = counted();
  for (const wrong of [5, undefined, "x"]) expect(thrown(() => db.transaction(wrong as any))).toBe("TypeError: Expected first argument to be a function");
});

test("inTransaction follows BEGIN, COMMIT, ROLLBACK and savepoints", () => {
  const { db } = counted();
  const states = ["BEGIN", "COMMIT", "SAVEPOINT a", "RELEASE a", "BEGIN IMMEDIATE", "ROLLBACK"].map((sql) => { db.run(sql); return db.inTransaction; });
  expect(states).toEqual([true, false, true, false, true, false]);
});

/** The asynchronous API: queries, the template, transactions, iterators, signals, and the border to the synchronous one. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AsyncDatabase, connect, Database, identifier, join as joined, raw, sql } from "../src/index.ts";
import { parse } from "../src/async/parse.ts";

const directory = mkdtempSync(join(tmpdir(), "twilldb-async-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
let files = 0;
const freshPath = () => join(directory, `${++files}.db`);

async function sample(url = ":memory:"): Promise<AsyncDatabase> {
  const db = await connect(url);
  await db.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, 'x'), (2, 'y')");
  return db;
}

async function rejected(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error: any) {
    return error.errno === undefined ? `${error.name}: ${error.message}` : `${error.name}: ${error.message} [${error.code}]`;
  }
  return "it was fulfilled";
}

describe("queries", () => {
  test("rows as objects, the first, arrays, changes", async () => {
    await using db = await sample();
    expect(await db.query("SELECT * FROM t")).toEqual([{ a: 1, b: "x" }, { a: 2, b: "y" }]);
    expect(await db.query("SELECT * FROM t WHERE a > ?", [1])).toEqual([{ a: 2, b: "y" }]);
    expect(await db.query("SELECT * FROM t WHERE a = $id", { id: 1 })).toEqual([{ a: 1, b: "x" }]);
    expect(await db.first("SELECT b FROM t WHERE a = ?", [2])).toEqual({ b: "y" });
    expect(await db.first("SELECT b FROM t WHERE a = ?", [9])).toBe(null);
    expect(await db.values("SELECT a, b FROM t")).toEqual([[1, "x"], [2, "y"]]);
    expect(await db.run("INSERT INTO t(b) VALUES (?), (?)", ["p", "q"])).toEqual({ changes: 2, lastInsertRowid: 4 });
    expect(await db.query("INSERT INTO t(b) VALUES ('r') RETURNING a")).toEqual([{ a: 5 }]);
    expect(await db.query("CREATE TABLE u(a)")).toEqual([]);
  });

  test("values without loss", async () => {
    await using db = await sample();
    const values = [1, -0, 1.5, 2 ** 53 - 1, 2n ** 62n, "é😀", "", null, "a\0b", 1e300];
    const [row] = await db.values(`SELECT ${values.map(() => "?").join(", ")}, ?`, [...values, new Uint8Array([1, 2])]);
    expect(row!.slice(0, -1)).toEqual(values);
    expect(row!.at(-1)).toEqual(new Uint8Array([1, 2]));
    await using wide = await connect(":memory:", { safeIntegers: true });
    expect(await wide.query("SELECT 1 AS a, 1.5 AS b")).toEqual([{ a: 1n, b: 1.5 }]);
    const big = "x".repeat(3_000_000);
    expect((await db.first<{ big: string }>("SELECT ? AS big", [big]))!.big).toBe(big);
    const many = await db.query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT i, 'row ' || i AS t FROM n");
    expect([many.length, many[99_999]]).toEqual([100_000, { i: 100_000, t: "row 100000" }]);
  });

  test("run in the order in which they were made", async () => {
    await using db = await connect(":memory:");
    const all = [db.exec("CREATE TABLE o(n)"), ...Array.from({ length: 200 }, (_, n) => db.run("INSERT INTO o VALUES (?)", [n])), db.values("SELECT count(*) FROM o")];
    expect((await Promise.all(all)).at(-1)).toEqual([[200]]);
    expect(await db.values("SELECT n FROM o ORDER BY rowid")).toEqual(Array.from({ length: 200 }, (_, n) => [n]));
  });

  test("errors", async () => {
    await using db = await sample();
    expect(await rejected(db.query("SELECT * FROM nope"))).toBe("SQLiteError: no such table: nope [SQLITE_ERROR]");
    expect(await rejected(db.run("INSERT INTO t(a) VALUES (1)"))).toBe("SQLiteError: UNIQUE constraint failed: t.a [SQLITE_CONSTRAINT_PRIMARYKEY]");
    expect(await rejected(db.query("SELECT ?, ?", [1]))).toBe("Error: SQLite query expected 2 values, received 1");
    expect(await rejected(db.query("SELECT $a", { b: 1 }))).toBe('Error: Missing parameter "a"');
    expect(await rejected(db.query("SELECT ?", [new Date() as any]))).toStartWith("TypeError: Binding expected");
    expect(await rejected(db.query("SELECT ?", [2n ** 64n]))).toStartWith("RangeError: BigInt value");
    expect(await rejected(db.query("SELECT 1; SELECT 2"))).toBe("Error: more than one statement: use exec(), which runs a text of several");
    expect(await rejected(db.exec("INSERT INTO t(b) VALUES ('k'); nonsense; INSERT INTO t(b) VALUES ('l')"))).toContain("syntax error");
    expect(await db.values("SELECT b FROM t WHERE a > 2")).toEqual([["k"]]);
    expect(await rejected(connect(`${directory}/no/such.db`))).toContain("[SQLITE_CANTOPEN");
    expect(await rejected(connect("s3://bucket/x?nonsense=1"))).not.toBe("it was fulfilled");
  });

  test("close waits for what was asked, and refuses what comes after", async () => {
    const db = await sample(freshPath());
    const inserted = db.run("INSERT INTO t(b) VALUES ('last')");
    const closed = db.close();
    expect(await rejected(db.query("SELECT 1"))).toBe("Error: Database has closed");
    expect((await inserted).changes).toBe(1);
    await closed;
    await db.close();
    using again = new Database(db.url);
    expect(again.query("SELECT count(*) n FROM t").get()).toEqual({ n: 3 });
  });
});

describe("the template", () => {
  test("binds what it is given", async () => {
    await using db = await sample();
    const evil = "x'); DROP TABLE t; --";
    expect(await db.sql`SELECT ${evil} AS v`).toEqual([{ v: evil }]);
    expect(await db.sql`SELECT b FROM t WHERE a IN ${[1, 2]} ORDER BY a`.values()).toEqual([["x"], ["y"]]);
    expect(await db.sql`SELECT b FROM t WHERE a IN ${[]}`).toEqual([]);
    expect(await db.sql`SELECT ${identifier("t", "b")} FROM ${identifier("t")} WHERE a = ${1}`.first()).toEqual({ b: "x" });
    const above = sql`a > ${1}`;
    expect(await db.sql`SELECT a FROM t WHERE ${above} AND b = ${"y"}`).toEqual([{ a: 2 }]);
    const rows = joined([sql`(${10}, ${"p"})`, sql`(${11}, ${"q"})`]);
    expect(await db.sql`INSERT INTO t VALUES ${rows}`.run()).toEqual({ changes: 2, lastInsertRowid: 11 });
    const inner = db.sql`SELECT max(a) FROM t`;
    expect(await db.sql`SELECT (${inner}) AS m ${raw("FROM t LIMIT 1")}`.first()).toEqual({ m: 11 });
    expect(await db.values("SELECT count(*) FROM t")).toEqual([[4]]);
    expect(identifier('a"b').text).toBe('"a""b"');
    expect(() => identifier("a\0")).toThrow("NUL");
    expect(() => (db.sql as any)("SELECT 1")).toThrow("template's tag");
  });

  test("runs once, when it is awaited", async () => {
    await using db = await sample();
    const insert = db.sql`INSERT INTO t(b) VALUES ('once')`;
    expect(await db.values("SELECT count(*) FROM t")).toEqual([[2]]);
    await Promise.all([insert, insert]);
    await insert;
    expect(await db.values("SELECT count(*) FROM t")).toEqual([[3]]);
    expect(await db.sql`nonsense`.catch((error: any) => error.code)).toBe("SQLITE_ERROR");
  });
});

test("parameters are found as SQLite finds them", () => {
  const db = new Database(":memory:");
  db.run("CREATE TABLE t(a, b)");
  for (const text of [
    "SELECT 1", "SELECT ?", "SELECT ?, ?", "SELECT ?3, ?", "SELECT ?1, ?1, ?", "SELECT :a, @a, $a, :a", "SELECT '?', \"?\", ?",
    "SELECT 'it''s ?', ?", "SELECT ? -- ?\n, ?", "SELECT /* ? :a */ ?", "SELECT $a::b(c), $a", "SELECT :é", "SELECT a, [b] FROM t WHERE [a] = ?",
    "SELECT ?2, :x, ?", "SELECT x'00', ?", "SELECT 1e5, ?", "SELECT $1, ?1", "SELECT ?10", "SELECT '{\"a\":1}' ->> '$.a', ?", "SELECT 1;", "SELECT ?; -- end",
    "SELECT a AS a1 FROM t WHERE a=:v1 AND b=:v_2;", "SELECT '\n?' || ?",
  ]) {
    const statement = db.prepare<any, any>(text);
    const { count, names, several } = parse(text);
    expect([text, count, several]).toEqual([text, statement.paramsCount, false]);
    expect([text, names]).toEqual([text, statement.native.names()]);
  }
  for (const text of ["SELECT 1; SELECT 2", "SELECT 1;;x", "SELECT ';'; SELECT 2"]) expect([text, parse(text).several]).toEqual([text, true]);
  const trigger = "/* t */ CREATE TEMP TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END;";
  expect(parse(trigger).several).toBe(false);
});

describe("transactions", () => {
  test("commit, roll back, and give the result", async () => {
    await using db = await sample();
    expect(await db.transaction(async (tx) => { await tx.run("INSERT INTO t(b) VALUES ('p')"); return 7; })).toBe(7);
    expect(await rejected(db.transaction(async (tx) => { await tx.run("INSERT INTO t(b) VALUES ('q')"); throw new Error("mine"); }))).toBe("Error: mine");
    expect(await db.values("SELECT b FROM t")).toEqual([["x"], ["y"], ["p"]]);
    expect(await rejected(db.transaction(async (tx) => { await tx.run("INSERT INTO t(a) VALUES (1)"); }))).toContain("PRIMARYKEY");
    expect(await rejected(db.transaction(async (tx) => { await tx.run("ROLLBACK"); }))).toContain("no transaction is active");
    let kept: any;
    await db.transaction((tx) => { kept = tx; });
    expect(await rejected(kept.query("SELECT 1"))).toBe("Error: the transaction has ended");
  });

  test("do not interleave with anything else of the connection", async () => {
    await using db = await sample();
    const log: string[] = [];
    const slow = db.transaction(async (tx) => {
      log.push("begin");
      await tx.run("UPDATE t SET b = 'tx'");
      await Bun.sleep(20);
      log.push(`inside ${(await tx.values("SELECT count(*) FROM t"))[0]![0]}`);
    });
    const others = [
      db.run("INSERT INTO t(b) VALUES ('other')").then(() => log.push("insert")),
      db.transaction(async (tx) => { log.push(`second ${(await tx.values("SELECT count(*) FROM t"))[0]![0]}`); }),
      db.values("SELECT count(*) FROM t").then((rows) => log.push(`count ${rows[0]![0]}`)),
    ];
    await Promise.all([slow, ...others]);
    expect(log).toEqual(["begin", "inside 2", "insert", "second 3", "count 3"]);
  });

  test("nest as savepoints", async () => {
    await using db = await sample();
    await db.transaction(async (tx) => {
      await tx.run("INSERT INTO t(b) VALUES ('outer')");
      expect(await rejected(tx.transaction(async (inner) => { await inner.run("INSERT INTO t(b) VALUES ('inner')"); throw new Error("no"); }))).toBe("Error: no");
      await tx.transaction((inner) => inner.run("INSERT INTO t(b) VALUES ('kept')"));
    });
    expect(await db.values("SELECT b FROM t WHERE a > 2")).toEqual([["outer"], ["kept"]]);
  });

  test("the connection used inside its own transaction fails at once", async () => {
    await using db = await sample();
    const message = await rejected(db.transaction(async () => { await db.query("SELECT 1"); }));
    expect(message).toContain("use tx, not the connection");
    expect(await rejected(db.transaction(async () => { await db.close(); }))).toContain("use tx, not the connection");
    expect(await db.values("SELECT count(*) FROM t")).toEqual([[2]]);
  });

  test("of several connections take turns", async () => {
    const path = freshPath();
    await using one = await sample(path);
    await using two = await connect(path);
    await one.exec("CREATE TABLE n(v); INSERT INTO n VALUES (0)");
    const add = (db: AsyncDatabase) => db.transaction(async (tx) => {
      const [[v]] = (await tx.values("SELECT v FROM n")) as [[number]];
      await Bun.sleep(1);
      await tx.run("UPDATE n SET v = ?", [v + 1]);
    });
    await Promise.all(Array.from({ length: 20 }, (_, n) => add(n % 2 ? one : two)));
    expect(await one.values("SELECT v FROM n")).toEqual([[20]]);
  });
});

describe("iterators", () => {
  const NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?) SELECT i FROM n";

  test("give every row", async () => {
    await using db = await sample();
    for (const batch of [undefined, 1, 7, 100_000]) {
      let sum = 0;
      for await (const { i } of db.iterate<{ i: number }>(NUMBERS, [20_000], { batch })) sum += i;
      expect(sum).toBe(200_010_000);
    }
    const none: unknown[] = [];
    for await (const row of db.sql`SELECT a FROM t WHERE 0`) none.push(row);
    expect(none).toEqual([]);
  });

  test("stream: an endless result begins at once, and is given up", async () => {
    await using db = await sample();
    const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, hex(zeroblob(500)) h FROM n";
    const before = process.memoryUsage().rss;
    let seen = 0;
    for await (const _ of db.iterate(endless)) if (++seen === 200_000) break;
    expect(seen).toBe(200_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1024 * 1024);
    await db.exec("DROP TABLE t");
  });

  test("other queries run between batches, and errors arrive", async () => {
    await using db = await sample();
    let rounds = 0;
    for await (const { i } of db.iterate<{ i: number }>(NUMBERS, [10], { batch: 2 })) rounds += ((await db.values("SELECT ?", [i]))[0]![0] as number) / i;
    expect(rounds).toBe(10);
    expect(await rejected((async () => { for await (const _ of db.sql`SELECT * FROM nope`); })())).toContain("no such table");
    expect(await rejected(db.iterate("SELECT 1", [], { batch: -1 }).next())).toContain("batch is a number of rows");
  });

  test("end with their transaction", async () => {
    await using db = await sample();
    let kept: any;
    await db.transaction(async (tx) => {
      kept = tx.iterate(NUMBERS, [100_000], { batch: 1 });
      expect((await kept.next()).value).toEqual({ i: 1 });
    });
    expect(await rejected(kept.next())).toBe("Error: the transaction has ended");
  });
});

describe("signals", () => {
  const FOREVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

  test("end what runs", async () => {
    await using db = await sample();
    const controller = new AbortController();
    const query = db.query(FOREVER, [], { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("enough")), 20);
    expect(await rejected(query)).toBe("Error: enough");
    expect(await rejected(db.query(FOREVER, [], { signal: AbortSignal.timeout(20) }))).toStartWith("TimeoutError");
    expect(await rejected(db.query("SELECT 1", [], { signal: AbortSignal.abort(new Error("before")) }))).toBe("Error: before");
    expect(await rejected(db.sql`SELECT 1`.signal(AbortSignal.abort(new Error("tag"))).first())).toBe("Error: tag");
    expect(await db.values("SELECT 1")).toEqual([[1]]);
  });

  test("end what waits for its turn, and transactions", async () => {
    await using db = await sample();
    const controller = new AbortController();
    const waiting = db.transaction(async () => {
      const queued = db.query("SELECT 1", [], { signal: controller.signal }).catch((error) => error.message);
      return queued;
    });
    expect(await waiting).toContain("use tx");
    const long = db.transaction(async (tx) => { await tx.run("INSERT INTO t(b) VALUES ('gone')"); await tx.query(FOREVER); }, { signal: controller.signal });
    const behind = db.query("SELECT 1", [], { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("enough")), 20);
    expect(await Promise.all([rejected(long), rejected(behind)])).toEqual(["Error: enough", "Error: enough"]);
    expect(await db.values("SELECT count(*) FROM t")).toEqual([[2]]);
  });
});

describe("beside the synchronous classes", () => {
  test("a call that would wait for this thread's own asynchronous transaction fails at once", async () => {
    const path = freshPath();
    await using db = await sample(path);
    using sync = new Database(path);
    await db.transaction(async (tx) => {
      await tx.run("INSERT INTO t(b) VALUES ('mine')");
      const start = performance.now();
      expect(() => sync.run("INSERT INTO t(b) VALUES ('yours')")).toThrow();
      try { sync.run("BEGIN IMMEDIATE"); } catch (error: any) { expect(error.code).toBe("SQLITE_MISUSE_ASYNC"); }
      expect(performance.now() - start).toBeLessThan(1000);
      expect(sync.query("SELECT count(*) n FROM t").get()).toEqual({ n: 2 });
    });
    expect(sync.run("INSERT INTO t(b) VALUES ('yours')").changes).toBe(1);
    expect(await db.values("SELECT count(*) FROM t")).toEqual([[4]]);
  });

  test("the event loop goes on while SQL runs", async () => {
    await using db = await sample();
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    await db.query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000000) SELECT count(*) FROM n");
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(5);
  });
});

/**
 * `ENGINE_LIB=… bun test`: the wrapper, the data's dirt, kill -9 and restart, and another SQLite in the same process.
 * VEGA_DATASETS is the package's directory where npm did not install it here.
 */
import { Database as StockDatabase } from "bun:sqlite";
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { parseCsv, releaseDate } from "./dataset.ts";
import { Connection, decode, EngineError, literal, sql, type Value } from "./twill.ts";

const directory = mkdtempSync(join(tmpdir(), "twill-bun-"));
afterAll(() => rmSync(directory, { recursive: true }));

const fileOf = (name: string) => join(directory, name);
const urlOf = (name: string) => `file://${fileOf(name)}`;

function app(...args: string[]) {
  return Bun.spawn([process.execPath, join(import.meta.dir, "app.ts"), ...args], {
    stdout: "pipe",
    stderr: "pipe",
  });
}

async function outcome(child: ReturnType<typeof app>) {
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { code: await child.exited, out, err };
}

/** What the stock SQLite says in a process of its own: a count, or its error. */
async function countElsewhere(path: string): Promise<string> {
  const program = `
    import { Database } from "bun:sqlite";
    try { console.log(new Database(process.argv[1]).query("SELECT count(*) AS n FROM t").get().n); }
    catch (error) { console.log(error.message); }`;
  const child = Bun.spawn([process.execPath, "-e", program, path], { stdout: "pipe" });
  return (await child.stdout.text()).trim();
}

test("values come back as they were sent", () => {
  using db = new Connection(":memory:");
  const values: Value[] = [
    null, 0, 1, -1, 0.1, 1.5, -2.25e-7, 1e300, Infinity, -Infinity, 5e-324, Number.MAX_SAFE_INTEGER,
    2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n),
    "", "it's", 'a "quoted" \\ text\r\n', "a\0b", "{\"int\":\"1\"}", "näive 🦉 \u2028",
    new Uint8Array(), new Uint8Array([0, 255, 1, 2, 3]),
  ];
  const { rows } = db.query(`SELECT ${values.map(literal).join(", ")}`);
  expect(rows[0]).toEqual(values);
  for (const value of values) expect(db.value(sql`SELECT ${value}`)).toEqual(value);
});

test("an integer and a real that look alike stay apart", () => {
  using db = new Connection(":memory:");
  const { rows } = db.query("SELECT 1, 1.0, 9007199254740993, 9007199254740992.0", { integers: "bigint" });
  expect(rows).toEqual([[1n, 1, 9007199254740993n, 9007199254740992]]);
  expect(decode('{"columns":["x"],"types":[null],"rows":[[{"real":-0.0}]],"changes":0,"last_insert_rowid":0}').rows[0]![0])
    .toBe(-0);
});

test("a result has columns, declared types, changes and the last rowid", () => {
  using db = new Connection(":memory:");
  db.query("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)");
  expect(db.query(sql`INSERT INTO t(name) VALUES (${"a"}), (${"b"})`)).toMatchObject({ changes: 2, lastInsertRowid: 2 });
  expect(db.query("SELECT id, name, 1 + 1 AS two FROM t WHERE id = 2")).toMatchObject({
    columns: ["id", "name", "two"],
    types: ["INTEGER", "TEXT", null],
    rows: [[2, "b", 2]],
  });
  expect(db.all(sql`SELECT name FROM t WHERE id IN ${[1, 2]}`)).toEqual([{ name: "a" }, { name: "b" }]);
});

test("what cannot reach the engine unchanged is refused, and misuse is an error", () => {
  expect(() => new Connection("file:///tmp/a\0b")).toThrow("NUL");
  expect(() => new Connection("gopher://x")).toThrow("gopher");
  const db = new Connection(":memory:");
  expect(() => db.query("SELECT 'a\0b'")).toThrow("NUL");
  expect(() => db.query("SELECT '\ud800'")).toThrow("surrogate");
  expect(() => literal(2n ** 63n)).toThrow("64 bits");
  try {
    db.query("SELECT * FROM nowhere");
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(EngineError);
    expect(error).toMatchObject({ code: 1, extendedCode: 1, message: "no such table: nowhere" });
  }
  db.close();
  expect(() => db.query("SELECT 1")).toThrow("not an open handle");
  db.close();
});

test("a transaction spans calls, and an error rolls it back", () => {
  using db = new Connection(urlOf("transaction.db"));
  using other = new Connection(urlOf("transaction.db"));
  db.query("CREATE TABLE t(n)");
  db.transaction(() => {
    db.query("INSERT INTO t VALUES (1)");
    expect(other.value("SELECT count(*) FROM t")).toBe(0);
  });
  expect(other.value("SELECT count(*) FROM t")).toBe(1);
  expect(() =>
    db.transaction(() => {
      db.query("INSERT INTO t VALUES (2)");
      throw new Error("changed my mind");
    }),
  ).toThrow("changed my mind");
  expect(other.value("SELECT count(*) FROM t")).toBe(1);
});

test("a worker opens the same database in the same process", async () => {
  const url = urlOf("worker.db");
  using db = new Connection(url);
  db.query("CREATE TABLE t(n)");
  const source = `
    import { Connection } from ${JSON.stringify(join(import.meta.dir, "twill.ts"))};
    using db = new Connection(${JSON.stringify(url)});
    postMessage(db.query("INSERT INTO t VALUES (1), (2)").changes);`;
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "application/typescript" })));
  const changes = await new Promise((resolve, reject) => {
    worker.onmessage = (event) => resolve(event.data);
    worker.onerror = (event) => reject(new Error(event.message));
  });
  expect(changes).toBe(2);
  expect(db.value("SELECT count(*) FROM t")).toBe(2);
  worker.terminate();
});

test("the data set loads, survives kill -9 twice, and the report finds every acknowledged write", async () => {
  const url = urlOf("demo.db");
  const dataset = process.env.VEGA_DATASETS ?? join(import.meta.dir, "node_modules/vega-datasets");
  expect(await outcome(app("load", url, dataset))).toMatchObject({ code: 0, err: "" });

  let acknowledged = 0;
  for (let round = 0; round < 2; round++) {
    const writer = app("serve-writes", url);
    let out = "";
    for await (const chunk of writer.stdout) {
      out += new TextDecoder().decode(chunk);
      if (out.split("\n").length > 50) writer.kill("SIGKILL");
    }
    expect(await writer.exited).not.toBe(0);
    const last = Number(/ack (\d+)\n$/.exec(out)?.[1]);
    expect(last).toBeGreaterThanOrEqual(acknowledged + 50);
    acknowledged = last;
  }

  expect(await outcome(app("report", url, String(acknowledged)))).toMatchObject({ code: 0, err: "" });
  const missing = await outcome(app("report", url, String(acknowledged + 1000)));
  expect(missing.code).toBe(1);
  expect(missing.err).toContain("LOST");
}, 60_000);

test("another SQLite in this process neither reads our file nor takes our lock away", async () => {
  const path = fileOf("locked.db");
  const db = new Connection(urlOf("locked.db"));
  db.query("CREATE TABLE t(n); INSERT INTO t VALUES (1)");

  for (let round = 0; round < 3; round++) {
    expect(() => {
      const stock = new StockDatabase(path);
      try {
        stock.query("SELECT * FROM t").all();
      } finally {
        // Closing a descriptor would drop this process's classic POSIX locks on the file.
        stock.close();
      }
    }).toThrow("database is locked");
    expect(await countElsewhere(path)).toBe("database is locked");
    db.query("INSERT INTO t VALUES (2)");
  }

  expect(db.value("SELECT count(*) FROM t")).toBe(4);
  db.close();
  const stock = new StockDatabase(path);
  expect(stock.query("SELECT count(*) AS n FROM t").get()).toEqual({ n: 4 });
  expect(stock.query("PRAGMA integrity_check").values()).toEqual([["ok"]]);
  stock.close();
  expect(await countElsewhere(path)).toBe("4");
}, 60_000);

test("the data's dirt", () => {
  expect(parseCsv('a,b\n"x, y","say ""hi"""\r\n,last\n')).toEqual([["a", "b"], ["x, y", 'say "hi"'], ["", "last"]]);
  expect(() => parseCsv('a,"open\n')).toThrow("not CSV");
  expect(releaseDate("Jun 12 1998")).toBe("1998-06-12");
  expect(releaseDate("Dec 31 2046")).toBe("1946-12-31");
  expect(releaseDate("1998")).toBeNull();
  expect(releaseDate(null)).toBeNull();
});
